package relay

import (
	"flag"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A failing seed is printed with its story, and replays:
//
//	go test ./relay -run TestTheWorkerAgainstItsModel -model.seed 17 -model.seeds 1
var (
	modelSeed  = flag.Uint64("model.seed", 1, "first seed of the model")
	modelSeeds = flag.Uint64("model.seeds", 400, "number of seeds of the model")
)

// The worker, its index, its gate, its leases and its ledger are the real ones;
// store and destination are a model that fails, hangs, loses answers and loses
// power as a seed says. In the end every message is settled once, and the
// destination has got the messages of each lane in their order.
func TestTheWorkerAgainstItsModel(t *testing.T) {
	seen := map[State]int{}
	for seed := *modelSeed; seed < *modelSeed+*modelSeeds; seed++ {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(seed)
			w.live(rand.New(rand.NewPCG(seed, 1)))
			w.judge()
			if len(w.broken) > 0 {
				t.Fatalf("seed %d: %s\n%s", seed, w.broken[0], w.story())
			}
			for state, n := range w.ledger().Totals() {
				seen[state] += int(n)
			}
		})
	}
	if *modelSeeds >= 100 { // the runs must have been about something
		for _, state := range []State{Delivered, Dead, Superseded, Discarded, Cancelled} {
			require.Positive(t, seen[state], state)
		}
		t.Logf("settled in all: %v", seen)
	}
}

// live is what happens: a few dozen things, one after the other.
func (w *world) live(chance *rand.Rand) {
	machines := []string{"one", "two"}
	if w.alone != nil {
		machines[1] = "one"
	}
	running := map[string]*process{"one": w.start("one")}
	for range 20 + chance.IntN(40) {
		machine := machines[chance.IntN(2)]
		switch what := chance.IntN(106); {
		case what < 55:
			w.acceptSome(chance)
		case what < 63 && running[machine] != nil:
			w.kill(running[machine])
			delete(running, machine)
		case what < 67 && running[machine] != nil:
			w.end(running[machine])
			delete(running, machine)
		case what < 78 && running[machine] == nil:
			running[machine] = w.start(machine)
		case what < 82 && running[machine] != nil:
			w.sever(running[machine])
		default:
			w.happens(what)
		}
		time.Sleep(time.Duration(chance.ExpFloat64() * float64(8*time.Second)))
	}
	w.recover(running)
	if running["one"] == nil {
		running["one"] = w.start("one")
	}
	w.settle()
	for _, p := range running {
		w.end(p)
	}
}

func (w *world) acceptSome(chance *rand.Rand) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for range 1 + chance.IntN(6) {
		lane := []string{"a", "b", "c", "d", ""}[chance.IntN(5)]
		route := []string{"report", "report", "report", "short", "poison", "facts", "facts", "pausing", "shrug"}[chance.IntN(9)]
		if w.alone != nil && route == "report" && chance.IntN(2) == 0 {
			route = "once"
		}
		w.accept(lane, route, "", someTimes(chance))
	}
}

// happens is what the drains have no part in.
func (w *world) happens(what int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case what < 85:
		w.down = !w.down
		w.note("destination down: %v", w.down)
	case what < 88:
		if w.paused.IsZero() {
			w.paused = time.Now()
		} else {
			w.paused = time.Time{}
		}
		w.note("paused: %v", !w.paused.IsZero())
	case what < 90:
		w.barrier()
	case what < 92:
		w.powerCut()
	case what < 100:
		w.tend(what%2 == 0)
	default:
		w.takeBack(what)
	}
}

// tend replays or discards the oldest dead letter, as an operator does.
func (w *world) tend(replay bool) {
	dead := w.ledger().DeadLetters()
	if len(dead) == 0 {
		return
	}
	m := w.messages[dead[0]-1]
	e := Event{Sequence: m.Sequence, ID: m.ID, State: Discarded, Reason: ReasonOperator}
	if replay {
		e = Event{Sequence: m.Sequence, ID: m.ID, State: Superseded, Reason: ReasonReplayed, Link: w.accept(m.Lane, "report", m.ID, func(*Message) {}).ID}
	}
	w.record(e)
	w.barrier()
}

// sever cuts a drain off from the edge, or ends that; it lives on.
func (w *world) sever(p *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.cut, p.severed = !p.cut, true
	w.note("drain %d cut off: %v", p.number, p.cut)
	w.unrecorded(p, "its drain was cut off before it was recorded")
}

// recover ends every trouble.
func (w *world) recover(running map[string]*process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range running {
		p.cut = false
	}
	w.down, w.paused, w.well = false, time.Time{}, true
	w.note("all is well again")
}

// settle waits until nothing is pending; what does not end by its maximum age is
// judged as it is.
func (w *world) settle() {
	for range 90 {
		w.mu.Lock()
		pending := w.ledger().Counts(uint64(len(w.messages))).Pending
		w.paused = time.Time{} // a message may have paused the queue
		w.mu.Unlock()
		if pending == 0 {
			return
		}
		time.Sleep(time.Minute)
	}
}

// judge holds what came of every message against a reference that is as simple
// as can be: the first settlement counts, an operator moves a letter on.
func (w *world) judge() {
	w.mu.Lock()
	defer w.mu.Unlock()
	states, totals := map[uint64]State{}, Totals{}
	settled := map[uint64]int{}
	last := map[uint64]Event{}
	for _, e := range w.events {
		operator := e.Reason == ReasonReplayed || e.Reason == ReasonOperator && e.State == Discarded
		if !operator && e.State != Cancelled && e.Attempt < last[e.Sequence].Attempt && w.excused[e.Sequence] == 0 {
			w.wrong("attempt %d of %d is recorded after attempt %d", e.Attempt, e.Sequence, last[e.Sequence].Attempt)
		}
		if !e.State.Settled() {
			if states[e.Sequence] == "" { // one that comes late says nothing of the end
				last[e.Sequence] = e
			}
			continue
		}
		if e.Reason == ReasonNewer {
			w.judgeReplaced(e)
		}
		if !operator && (e.Reason != ReasonNewer || states[e.Sequence] != Superseded) { // two drains may find the same
			settled[e.Sequence]++
		}
		if before := states[e.Sequence]; before == "" || before == Dead && operator {
			states[e.Sequence] = e.State
			last[e.Sequence] = e
		}
	}
	for _, m := range w.messages {
		w.judgeOne(m, states[m.Sequence], settled[m.Sequence], last[m.Sequence])
		totals[states[m.Sequence]]++
	}
	ledger := w.ledger()
	counts := ledger.Counts(uint64(len(w.messages)))
	if counts.Pending != 0 || counts.Totals.Sum() != counts.Accepted {
		w.wrong("the ledger does not balance: %+v", counts)
	}
	for _, state := range settledStates {
		if counts.Totals[state] != totals[state] {
			w.wrong("the ledger counts %d %s, the model %d", counts.Totals[state], state, totals[state])
		}
	}
}

// judgeReplaced: what is superseded has a newer one of its place.
func (w *world) judgeReplaced(e Event) {
	m := w.messages[e.Sequence-1]
	for _, n := range w.messages[e.Sequence:] {
		if n.ID == e.Link && n.lane == m.lane && n.Route == "facts" && m.Route == "facts" && n.ReplayedFrom == "" {
			return
		}
	}
	w.wrong("%d is superseded by %q, which is no newer one of its place", e.Sequence, e.Link)
}

func (w *world) judgeOne(m *modelMessage, state State, settled int, e Event) {
	more := w.excused[m.Sequence]
	arrivals := w.arrivals(m.Sequence)
	w.judgeAlone(m, arrivals, e)
	switch {
	case state == "":
		w.wrong("%d is not settled", m.Sequence)
	case settled > 1+more:
		w.wrong("%d is settled %d times", m.Sequence, settled)
	case state == Delivered && arrivals == 0:
		w.wrong("%d is settled as delivered, and the destination has not got it", m.Sequence)
	case arrivals > 1+more:
		w.wrong("the destination has got %d %d times", m.Sequence, arrivals)
	case arrivals > 0 && state != Delivered && more == 0:
		w.wrong("the destination has got %d, which is %s", m.Sequence, state)
	case state == Dead && e.Reason == ReasonMaxAttempts && w.tries[m.Sequence] < modelPolicy(m.Route).MaxAttempts:
		w.wrong("%d is dead after %d attempts", m.Sequence, w.tries[m.Sequence])
	case m.Route != "pausing" && w.failed[m.Sequence] > modelPolicy(m.Route).MaxAttempts+more:
		w.wrong("%d was tried %d times with an error", m.Sequence, w.failed[m.Sequence])
	case state == Dead && (e.Reason == ReasonExpired || e.Reason == ReasonMaxAge) && e.Recorded.Before(m.end()):
		w.wrong("%d is dead at an age of %s", m.Sequence, e.Recorded.Sub(m.Stored))
	case state == Dead && (m.Route == "shrug" || m.Route == "pausing") && (e.Reason == ReasonMaxAttempts || e.Reason == ReasonRejected):
		w.wrong("%d is dead, and its route has another end for it", m.Sequence)
	}
}
