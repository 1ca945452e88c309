package relay

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Of several messages of a latest route (Policy.Latest) that wait for one place,
// only the newest is delivered; the others are settled as superseded by it. What
// is the newest of a place the edge knows, because it accepts them. The drain
// asks it, in batches: about what it has read ahead, about places that have got
// a newer message since, and once more right before an attempt.

// Place is what a message of a latest route is about: a newer one of the same
// place replaces it.
type Place struct {
	Lane  string `json:"l"` // token
	Route string `json:"r"`
	Kind  string `json:"k,omitempty"` // Message.Kind
}

// Newest is the newest message of a place, accepted and as durable as its sender
// was told.
type Newest struct {
	Place
	Sequence uint64 `json:"s"`
	ID       string `json:"i"`
}

// NewestRequest asks for the newest messages of places, or (Follow) of all places
// that have got a newer one after a version.
type NewestRequest struct {
	Queue  string  `json:"q"` // token
	Places []Place `json:"p,omitempty"`
	Follow bool    `json:"f,omitempty"`
	Since  uint64  `json:"v,omitempty"`
}

// NewestReply names no place that has nothing to replace an older message with.
type NewestReply struct {
	// Known: the edge has read its journal since it was started; before that, a
	// place that is not named may have a newest message all the same.
	Known   bool     `json:"k"`
	Version uint64   `json:"v"` // everything up to here is answered; ask for what comes after it
	More    bool     `json:"m,omitempty"`
	Newest  []Newest `json:"n,omitempty"`
}

const (
	// MaxPlaces is how many places one request may ask for.
	MaxPlaces = 256

	// MaxChanges is how many changed places one reply names.
	MaxChanges = 4096

	// followEvery is how often a term asks which places have got a newer message,
	// while its index holds any of a latest route.
	followEvery = time.Second

	// freshBatches is how many reads may be ahead of the asking: about
	// freshBatches * readBatch messages, less than a lane's share of the index.
	freshBatches = 16

	// settleTogether is how many superseded messages are recorded at one time.
	settleTogether = 256

	// unsurePatience is how long a message of a latest route is kept back because
	// the edge does not know (yet) whether there is a newer one. It reads a
	// million messages in less. After it they are delivered one by one.
	unsurePatience = 30 * time.Second
)

// compaction is what a term keeps for it.
type compaction struct {
	fresh     chan []Entry // read, and not asked for yet
	since     uint64       // version up to which places were followed
	following bool         // since is one

	mu     sync.Mutex
	unsure time.Time // since when the edge does not know; zero: it does
}

func newCompaction() *compaction { return &compaction{fresh: make(chan []Entry, freshBatches)} }

// offer hands over what was read ahead; it waits while too much is not asked for.
func (t *term) offer(ctx context.Context, entries []Entry) {
	fresh := slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool { return !e.Latest })
	if len(fresh) == 0 {
		return
	}
	select {
	case t.compaction.fresh <- fresh:
	case <-ctx.Done():
	}
}

// compact settles what is superseded. It needs neither a permit nor a closed
// circuit, and what it misses is found when its turn comes.
func (t *term) compact(ctx context.Context) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case entries := <-t.compaction.fresh:
			t.lookUp(ctx, entries)
		case <-tick.C:
			t.follow(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// lookUp asks for the places of entries that were just read. What becomes newer
// after the answer is what follow is told.
func (t *term) lookUp(ctx context.Context, entries []Entry) {
	for places := range slices.Chunk(placesOf(entries), MaxPlaces) {
		reply, err := t.Journal.Newest(ctx, NewestRequest{Queue: t.Queue.Token(), Places: places})
		if err != nil {
			t.Log.Debug().Err(err).Str("queue", t.Queue.String()).Msg("the edge did not say what is newest; it is asked again before each attempt")
			return
		}
		t.compaction.heard(reply)
		if c := t.compaction; !c.following {
			c.since, c.following = reply.Version, true
		}
		t.supersede(ctx, reply.Newest)
	}
}

func placesOf(entries []Entry) []Place {
	var places []Place
	seen := map[Place]bool{}
	for _, e := range entries {
		if p := e.place(); !seen[p] {
			seen[p] = true
			places = append(places, p)
		}
	}
	return places
}

// follow asks which places have got a newer message.
func (t *term) follow(ctx context.Context) {
	c := t.compaction
	if t.x.latest() == 0 { // what is read from now on is looked up then
		c.following = false
	}
	for c.following && ctx.Err() == nil {
		reply, err := t.Journal.Newest(ctx, NewestRequest{Queue: t.Queue.Token(), Follow: true, Since: c.since})
		if err != nil {
			return
		}
		c.heard(reply)
		c.since = reply.Version
		t.supersede(ctx, reply.Newest)
		if !reply.More {
			return
		}
	}
}

// supersede takes what these have replaced out of the index and records it: all of
// it, unless the term ends, because then the next one reads it again.
func (t *term) supersede(ctx context.Context, newest []Newest) {
	if !t.Valid() {
		return
	}
	var all []replacement
	for _, n := range newest {
		for _, e := range t.x.withdraw(n) {
			all = append(all, replacement{e, n})
		}
	}
	for some := range slices.Chunk(all, settleTogether) {
		done := t.x.leave(some)
		if ctx.Err() != nil { // after they are said to leave: an operator who takes messages back is told of all that is still under way
			done()
			return
		}
		var recording sync.WaitGroup
		for _, r := range some {
			recording.Go(func() { t.record(r.old, superseded(r.by), Result{}) })
		}
		recording.Wait()
		done()
	}
}

// replacement is a message that left the index, and what replaces it.
type replacement struct {
	old Entry
	by  Newest
}

func superseded(by Newest) Outcome {
	return Outcome{State: Superseded, Reason: ReasonNewer, Link: by.ID}
}

// replaced is the last look before an attempt: a head that has been replaced is
// settled here; one of which nobody knows whether it was waits a little, and its
// lane with it. false: it may be attempted.
func (t *term) replaced(ctx context.Context, e Entry, m *Message) bool {
	if m.Lane == "" || !t.Policy(m.Route).Latest {
		return false
	}
	place := Place{Lane: e.Lane, Route: m.Route, Kind: m.Kind}
	reply, err := t.Journal.Newest(ctx, NewestRequest{Queue: t.Queue.Token(), Places: []Place{place}})
	if i := slices.IndexFunc(reply.Newest, func(n Newest) bool { return n.Place == place && n.Sequence > e.since(m) }); i >= 0 {
		t.untried(e)
		t.settle(e, superseded(reply.Newest[i]), Result{})
		return true
	}
	if !t.compaction.keepsBack(err == nil && reply.Known, t.Now()) {
		return false
	}
	t.untried(e)
	e.Next = t.Now().Add(retryPause)
	t.x.postpone(e)
	return true
}

// untried gives back what was taken from the budget for a retry that is not made.
func (t *term) untried(e Entry) {
	if e.Attempts > 0 {
		t.Budget.Refund(t.Now())
		t.x.repaid()
	}
}

// since is when a message was accepted first, as a sequence: a replay brings what
// was accepted long before it.
func (e Entry) since(m *Message) uint64 {
	if m.Origin != 0 {
		return m.Origin
	}
	return e.Sequence
}

// heard ends the patience with an edge that knows, whatever it was asked.
func (c *compaction) heard(r NewestReply) {
	if r.Known {
		c.mu.Lock()
		c.unsure = time.Time{}
		c.mu.Unlock()
	}
}

// keepsBack says whether to wait for an edge that does not know.
func (c *compaction) keepsBack(known bool, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known {
		c.unsure = time.Time{}
		return false
	}
	if c.unsure.IsZero() {
		c.unsure = now
	}
	return now.Sub(c.unsure) < unsurePatience
}
