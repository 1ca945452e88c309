package relay

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// world is everything outside the drains: the store, the leases, the
// destination, and what is noted of them to be judged. Chance depends on the
// seed and on what happens, not on the order in which goroutines run.
type world struct {
	seed  uint64
	queue Queue

	mu       sync.Mutex
	messages []*modelMessage
	arrived  chan struct{} // closed and replaced with every message
	events   []Event
	safe     int // events behind a barrier
	run      int // of the edge
	answers  uint64
	lease    Lease
	paused   time.Time // zero: it is not
	down     bool      // the destination

	tries    map[uint64]int    // by sequence, as the destination counts
	failed   map[uint64]int    // of these, answered with an error that counts
	underway map[string]uint64 // by lane
	got      []arrival
	excused  map[uint64]int  // how often a message may come once more
	ended    map[uint64]bool // settled once, even if a power cut took that back
	broken   []string        // what must never be
	trace    []string
	begun    time.Time
	number   int

	urgent []uint64   // in the order in which the edge tells of them
	hold   *modelHold // nil: there is none
	well   bool       // no trouble is made any more

	replaced map[uint64]bool // a drain was told of a newer one, whatever became of that since

	alone *modelDeliveries // the record of the one machine that there is; nil: there are two, and none is kept
}

// arrival is a message that the destination has got.
type arrival struct {
	sequence uint64
	lane     string
	at       time.Time
}

// process is one run of a drain.
type process struct {
	number  uint64
	killed  bool
	cut     bool // from the edge
	severed bool // once
	stop    context.CancelFunc
	done    chan struct{}
	inside  map[uint64]string // sequence and lane of what it attempts
	unsaid  map[uint64]bool   // answered, and not recorded yet
}

func newWorld(seed uint64) *world {
	return &world{seed: seed, queue: Queue{"default", "foreman"}, arrived: make(chan struct{}), tries: map[uint64]int{}, failed: map[uint64]int{},
		underway: map[string]uint64{}, excused: map[uint64]int{}, ended: map[uint64]bool{}, replaced: map[uint64]bool{}, begun: time.Now()}
}

// chance is in [0, 1).
func (w *world) chance(what string, of ...uint64) float64 {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, w.seed, what, of)
	x := h.Sum64() // FNV leaves its upper bits alike for short texts
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return float64(x>>11) / (1 << 53)
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%12s ", time.Since(w.begun).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

func (w *world) wrong(format string, args ...any) {
	w.note("WRONG: "+format, args...)
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
}

// excuse lets a message come, and be settled, once more.
func (w *world) excuse(sequence uint64, why string) {
	w.note("%d may come again: %s", sequence, why)
	w.excused[sequence]++
}

// modelPolicy is short, so that a run reaches every end.
func modelPolicy(route string) Policy {
	p := DefaultPolicy()
	p.MaxAttempts, p.MaxAge, p.MaxDelay, p.SlowDelay = 4, 30*time.Minute, time.Minute, 10*time.Second
	p.Latest = route == "facts"
	switch route {
	case "short":
		return p.Expiring(5 * time.Minute)
	case "once":
		return p.Once()
	case "pausing":
		p.OnPoison = PoisonPause
	case "shrug":
		p.OnPoison = PoisonDiscard
	}
	return p
}

const modelAttempt = 10 * time.Second // the longest

// start begins a run of a drain on a machine.
func (w *world) start(machine string) *process {
	w.mu.Lock()
	w.number++
	p := &process{number: uint64(w.number), done: make(chan struct{}), inside: map[uint64]string{}, unsaid: map[uint64]bool{}}
	w.note("drain %d starts on %s", p.number, machine)
	w.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	destination := &modelDestination{w, p}
	options := DefaultGateOptions()
	options.Concurrency = 3
	var draws uint64
	d := NewDrain(DrainOptions{Instance: machine, Session: fmt.Sprint(p.number), LongestAttempt: modelAttempt, StopTimeout: 3 * time.Second,
		Registrar: &modelRegistrar{w: w, p: p}, Journal: func(Queue) (Journal, error) { return &modelJournal{w: w, p: p}, nil },
		Destination: destination, Gate: NewGate(options, destination.Probe), Policy: modelPolicy, Limits: IndexLimits{Entries: 12, Lane: 4, Parked: 3}, Budget: NewBudget(DefaultBudgetOptions()),
		Now: time.Now, Log: zerolog.Nop(), Jitter: func() float64 {
			w.mu.Lock()
			defer w.mu.Unlock()
			draws++
			return w.chance("jitter", p.number, draws)
		}})
	if w.alone != nil {
		d.Deliveries = &modelRecord{w.alone, w, p}
	}
	go func() {
		defer close(p.done)
		_ = d.Run(ctx)
	}()
	return p
}

// kill ends a process at once: a request that it had sent may still be
// processed, and nothing of it is recorded.
func (w *world) kill(p *process) {
	w.mu.Lock()
	w.note("drain %d is killed", p.number)
	p.killed = true
	for sequence, lane := range p.inside {
		w.excuse(sequence, "its drain was killed in the middle")
		w.doubt(sequence)
		if w.chance("killed", sequence, p.number) < 0.5 {
			w.arrive(sequence, lane)
		}
		w.leave(p, sequence, lane)
	}
	w.unrecorded(p, "its drain was killed before it was recorded")
	w.mu.Unlock()
	p.stop()
	<-p.done
}

// end stops a process as SIGTERM does.
func (w *world) end(p *process) {
	w.mu.Lock()
	w.note("drain %d stops", p.number)
	w.mu.Unlock()
	p.stop()
	<-p.done
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unrecorded(p, "its drain stopped before it was recorded") // the store may have failed for as long as a stop waits
}

// unrecorded excuses what was answered and no event tells of.
func (w *world) unrecorded(p *process, why string) {
	for _, sequence := range slices.Sorted(maps.Keys(p.unsaid)) {
		w.excuse(sequence, why)
	}
}

// linked is why a process cannot reach the edge.
func (p *process) linked() error {
	switch {
	case p.killed:
		return errKilled
	case p.cut:
		return errFault
	default:
		return nil
	}
}

// modelRegistrar is the edge's side of the leases: the real verdicts.
type modelRegistrar struct {
	w     *world
	p     *process
	calls uint64
}

func (r *modelRegistrar) Lease(_ context.Context, request LeaseRequest) (LeaseReply, error) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if err := r.p.linked(); err != nil {
		return LeaseReply{}, err
	}
	next, granted, wait, _ := r.w.lease.Decide(request, time.Now())
	if next.Epoch != r.w.lease.Epoch {
		r.w.note("epoch %d for drain %s, wait %s", next.Epoch, next.Session, wait)
	}
	r.w.lease = next
	r.w.answers++
	heeded := uint64(0)
	if request.Edge == fmt.Sprint(r.w.run) {
		heeded = request.Answer
	}
	g := Grant{Queue: r.w.queue, Granted: granted, Epoch: next.Epoch, Wait: wait, Paused: !r.w.paused.IsZero()}
	if granted {
		status := request.Queues[r.w.queue.Token()]
		g.Hold = r.w.heed(request.Session, heeded, status)
		r.w.tellUrgent(&g, status)
	}
	r.calls++
	if r.w.chance("lease", r.p.number, r.calls) < 0.05 {
		r.w.note("drain %d gets no answer about its lease", r.p.number)
		return LeaseReply{}, errFault
	}
	return LeaseReply{TTL: LeaseTTL, Edge: fmt.Sprint(r.w.run), Run: uint64(r.w.run), Answer: r.w.answers, Grants: []Grant{g}}, nil
}

// modelDestination answers as the seed says.
type modelDestination struct {
	w *world
	p *process
}

func (d *modelDestination) Probe(context.Context) error {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	if d.w.down {
		return errFault
	}
	return nil
}

// Deliver takes its time; what the destination gets, it gets at the end of it.
func (d *modelDestination) Deliver(ctx context.Context, m *Message) Result {
	d.w.mu.Lock()
	lane := d.w.messages[m.Sequence-1].ordered()
	d.w.tries[m.Sequence]++
	answer := d.w.chance("answer", m.Sequence, uint64(d.w.tries[m.Sequence]))
	slow := d.w.chance("slow", m.Sequence, uint64(d.w.tries[m.Sequence]))
	d.enter(m.Sequence, lane)
	d.w.mu.Unlock()
	cut := !sleep(ctx, time.Duration(math.Pow(slow, 4)*float64(modelAttempt)))
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	if d.p.killed {
		return Result{Class: ClassUnavailable}
	}
	defer d.w.leave(d.p, m.Sequence, lane)
	d.p.unsaid[m.Sequence] = true
	if d.p.cut {
		d.w.excuse(m.Sequence, "its drain cannot record it now")
	}
	if cut {
		d.w.excuse(m.Sequence, "its attempt was cut off by a stop")
		d.w.doubt(m.Sequence)
		if answer < 0.5 {
			d.w.arrive(m.Sequence, lane)
		}
		return Result{Class: ClassUnavailable, Reason: ReasonTimeout, Ambiguous: true, Confirmed: ClassTransient}
	}
	return d.answer(m, lane, answer)
}

func (d *modelDestination) answer(m *Message, lane string, answer float64) Result {
	poison := m.Route == "poison" || m.Route == "shrug"
	switch {
	case d.w.down:
		return Result{Class: ClassUnavailable, Reason: ReasonUnavailable, Confirmed: ClassTransient}
	case answer < 0.04 && !poison:
		d.w.excuse(m.Sequence, "its answer was lost")
		d.w.doubt(m.Sequence)
		d.w.arrive(m.Sequence, lane)
		return Result{Class: ClassUnavailable, Reason: ReasonTimeout, Ambiguous: true, Confirmed: ClassTransient}
	case answer < 0.2 || poison && answer < 0.8:
		d.w.failed[m.Sequence]++
		return Result{Class: ClassTransient, Reason: ReasonServerError, Status: 500}
	case answer < 0.22 || poison:
		return Result{Class: ClassRejected, Reason: ReasonRejected, Status: 422}
	case answer < 0.25:
		return Result{Class: ClassNotReady, Reason: ReasonNotReady, Status: 409}
	case answer < 0.26:
		return Result{Class: ClassDenied, Reason: ReasonUnauthorized, Status: 403, Hold: 10 * time.Second}
	}
	d.w.arrive(m.Sequence, lane)
	return Result{Class: ClassDelivered, Status: 201}
}

// enter notes an attempt, which must be the only one of its lane, of a message
// that is not settled, of a queue that is not paused.
func (d *modelDestination) enter(sequence uint64, lane string) {
	d.w.note("drain %d attempts %d", d.p.number, sequence)
	if other, busy := d.w.underway[lane]; busy {
		d.w.wrong("%d is attempted while %d of its lane is", sequence, other)
	}
	if d.w.ledger().Settled(sequence) && d.w.excused[sequence] == 0 { // a drain that was cut off may have recorded it just now
		d.w.wrong("%d is attempted, and is settled", sequence)
	}
	if m := d.w.messages[sequence-1]; m.NotBefore.After(time.Now()) || !m.Expires.IsZero() && m.Expires.Before(time.Now()) {
		d.w.wrong("%d is attempted at a wrong time:%s", sequence, m.times())
	}
	if n := d.w.newer(d.w.messages[sequence-1], time.Now()); n != nil && !d.p.severed {
		d.w.wrong("%d is attempted, and %d is newer", sequence, n.Sequence)
	}
	knows := renewEvery + time.Second
	if d.p.severed { // it lives on with its lease
		knows = LeaseTTL
	}
	if p := d.w.paused; !p.IsZero() && time.Since(p) > knows {
		d.w.wrong("%d is attempted while its queue is paused", sequence)
	}
	d.w.underway[lane] = sequence
	d.p.inside[sequence] = lane
}

func (w *world) leave(p *process, sequence uint64, lane string) {
	delete(p.inside, sequence)
	if w.underway[lane] == sequence {
		delete(w.underway, lane)
	}
}

// arrive notes what the destination has got.
func (w *world) arrive(sequence uint64, lane string) {
	w.note("the destination gets %d", sequence)
	w.got = append(w.got, arrival{sequence, lane, time.Now()})
	for _, m := range w.messages[:sequence-1] {
		if m.ordered() == lane && m.NotBefore.IsZero() && w.messages[sequence-1].NotBefore.IsZero() && !w.ended[m.Sequence] && !w.has(m.Sequence) && !w.replaced[m.Sequence] && w.newer(m, time.Now().Add(1)) == nil {
			w.wrong("the destination gets %d before %d, which is not settled", sequence, m.Sequence)
		}
	}
}

// has says whether the destination has got a message.
func (w *world) has(sequence uint64) bool { return w.arrivals(sequence) > 0 }

func (w *world) arrivals(sequence uint64) int {
	n := 0
	for _, a := range w.got {
		if a.sequence == sequence {
			n++
		}
	}
	return n
}

func (w *world) story() string { return strings.Join(w.trace, "\n") }
