package relay

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// oracle is an edge that says what it is told to say, and keeps what is recorded.
type oracle struct {
	Journal
	reply  NewestReply
	err    error
	asked  []NewestRequest
	events []Event
	during func() // while an event is recorded
}

func (o *oracle) Newest(_ context.Context, r NewestRequest) (NewestReply, error) {
	o.asked = append(o.asked, r)
	return o.reply, o.err
}

func (o *oracle) Record(_ context.Context, e Event) error {
	o.events = append(o.events, e)
	if o.during != nil {
		o.during()
	}
	return nil
}

// lastLook is a term with one message of a lane whose turn has come.
func lastLook(t *testing.T, o *oracle, now *time.Time) (*term, Entry) {
	t.Helper()
	w := &Worker{Queue: Queue{"default", "foreman"}, Journal: o, Log: zerolog.Nop(), Now: func() time.Time { return *now },
		Policy: func(route string) Policy { return Policy{Latest: route == "facts"} }}
	x := newIndex(DefaultIndexLimits(), 6, func(uint64) bool { return false })
	r := &term{Worker: w, Term: Term{Epoch: 9, Valid: func() bool { return true }}, x: x, hard: t.Context(), compaction: newCompaction()}
	x.add([]Entry{{Sequence: 7, Lane: "web", Route: "facts", Latest: true, Kind: "ansible", ID: "seven", Keyed: true}})
	e, ok := x.next()
	require.True(t, ok)
	return r, e
}

func TestTheLastLookBeforeAnAttempt(t *testing.T) {
	place := Place{Lane: "web", Route: "facts", Kind: "ansible"}
	facts := Message{ID: "seven", Route: "facts", Lane: "Web", Kind: "ansible"}
	replay, own, report := facts, facts, facts
	replay.Origin, own.Lane, report.Route = 3, "", "report"
	newest := func(sequence uint64) NewestReply {
		return NewestReply{Known: true, Newest: []Newest{{place, sequence, "it"}}}
	}
	for name, c := range map[string]struct {
		message   Message
		reply     NewestReply
		err       error
		replaced  bool
		recorded  bool
		unasked   bool
		keptBack  bool
		afterLong bool
	}{
		"a newer one":                  {message: facts, reply: newest(8), replaced: true, recorded: true},
		"it is the newest":             {message: facts, reply: newest(7)},
		"an older one is":              {message: facts, reply: newest(6)},
		"none is known":                {message: facts, reply: NewestReply{Known: true}},
		"another place has one":        {message: facts, reply: NewestReply{Known: true, Newest: []Newest{{Place{Lane: "web", Route: "facts"}, 8, "it"}}}},
		"newer than what is replayed":  {message: replay, reply: newest(4), replaced: true, recorded: true},
		"older than what is replayed":  {message: replay, reply: newest(2)},
		"without a lane":               {message: own, reply: newest(8), unasked: true},
		"of a route that keeps each":   {message: report, reply: newest(8), unasked: true},
		"nobody knows":                 {message: facts, replaced: true, keptBack: true},
		"nobody knows, but of one":     {message: facts, reply: NewestReply{Newest: newest(8).Newest}, replaced: true, recorded: true},
		"nobody answers":               {message: facts, err: errors.New("away"), replaced: true, keptBack: true},
		"nobody has known for so long": {message: facts, afterLong: true},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1e9, 0)
			o := &oracle{reply: c.reply, err: c.err}
			r, e := lastLook(t, o, &now)
			if c.afterLong {
				require.True(t, r.compaction.keepsBack(false, now))
				now = now.Add(unsurePatience)
			}
			require.Equal(t, c.replaced, r.replaced(t.Context(), e, &c.message))
			if c.unasked {
				require.Empty(t, o.asked)
			} else {
				require.Equal(t, []NewestRequest{{Queue: r.Queue.Token(), Places: []Place{place}}}, o.asked)
			}
			if c.recorded {
				require.Equal(t, []Event{{Sequence: 7, ID: "seven", State: Superseded, Reason: ReasonNewer, Epoch: 9, Keyed: true, Link: "it"}}, o.events)
				require.Empty(t, r.x.bulk.lanes)
				return
			}
			require.Empty(t, o.events)
			require.Equal(t, !c.keptBack, r.x.bulk.lanes["web"].busy)
			if c.keptBack {
				_, at := r.x.wakeDue(now)
				require.Equal(t, now.Add(retryPause), at)
				require.Empty(t, r.x.waits[7].Attempts, "it is no attempt")
			}
		})
	}
}

// An edge that knows again gives it the whole time again, the next time.
func TestPatienceBeginsAnew(t *testing.T) {
	c, now := newCompaction(), time.Unix(1e9, 0)
	require.True(t, c.keepsBack(false, now))
	require.False(t, c.keepsBack(false, now.Add(unsurePatience)))
	require.False(t, c.keepsBack(true, now))
	require.True(t, c.keepsBack(false, now.Add(2*unsurePatience)))
}

// What is followed begins with the first answer, goes on after the last one, and
// pauses while there is nothing that could be replaced.
func TestOnlyWhatChangedIsAskedFor(t *testing.T) {
	now := time.Unix(1e9, 0)
	o := &oracle{reply: NewestReply{Known: true, Version: 40}}
	r, e := lastLook(t, o, &now)
	r.x.putBack(e)
	r.follow(t.Context())
	require.Empty(t, o.asked, "nothing was looked up yet")
	r.lookUp(t.Context(), []Entry{e, e})
	o.reply = NewestReply{Known: true, Version: 41}
	r.follow(t.Context())
	r.follow(t.Context())
	token := r.Queue.Token()
	require.Equal(t, []NewestRequest{{Queue: token, Places: []Place{e.place()}}, {Queue: token, Follow: true, Since: 40}, {Queue: token, Follow: true, Since: 41}}, o.asked)

	o.reply.Newest = []Newest{{e.place(), 8, "it"}}
	r.follow(t.Context())
	require.Equal(t, []Event{{Sequence: 7, ID: "seven", State: Superseded, Reason: ReasonNewer, Epoch: 9, Keyed: true, Link: "it"}}, o.events)
	asked := len(o.asked)
	r.follow(t.Context())
	require.Len(t, o.asked, asked, "the index holds nothing that could be replaced")
}

// Who takes messages back is told of what is being recorded, and a term that has
// ended begins no more of it.
func TestWhatIsBeingSupersededIsToldOf(t *testing.T) {
	now := time.Unix(1e9, 0)
	o := &oracle{}
	r, e := lastLook(t, o, &now)
	r.x.putBack(e)
	r.index.Store(r.x)
	o.during = func() { require.Equal(t, []uint64{7}, r.Leaving()) }
	ended, end := context.WithCancel(t.Context())
	end()
	newest := []Newest{{e.place(), 8, "it"}}
	r.supersede(ended, newest)
	require.Empty(t, o.events)
	require.Empty(t, r.Leaving())

	r, e = lastLook(t, o, &now)
	r.x.putBack(e)
	r.index.Store(r.x)
	r.supersede(t.Context(), newest)
	require.Len(t, o.events, 1)
	require.Empty(t, r.Leaving())
}

func TestWhatReplaces(t *testing.T) {
	m := Message{Lane: "web"}
	require.True(t, m.Replaces())
	for name, not := range map[string]Message{"without a lane": {}, "a replay": {Lane: "web", ReplayedFrom: "x"}, "never delivered": {Lane: "web", SettledBefore: true}, "scheduled": {Lane: "web", NotBefore: time.Unix(1, 0)}} {
		require.False(t, not.Replaces(), name)
	}
}

func TestARenewalTellsWhatIsBeingSuperseded(t *testing.T) {
	now := time.Unix(1e9, 0)
	r, e := lastLook(t, &oracle{}, &now)
	r.index.Store(r.x)
	done := r.x.leave([]replacement{{old: Entry{Sequence: 5}}})
	d := NewDrain(DrainOptions{Gate: NewGate(DefaultGateOptions(), func(context.Context) error { return nil })})
	d.posts["q"] = &post{worker: r.Worker}
	told := d.request().Queues["q"]
	require.Equal(t, []any{1, []uint64{e.Sequence, 5}}, []any{told.Delivering, told.Underway})
	done()
	told = d.request().Queues["q"]
	require.Equal(t, []any{1, []uint64{e.Sequence}}, []any{told.Delivering, told.Underway})
}

// What is kept back was not tried: it takes nothing from the budget of retries,
// nor waits for one that the budget has nothing for.
func TestWhatIsKeptBackIsNoRetry(t *testing.T) {
	now := time.Unix(1e9, 0)
	b := NewBudget(BudgetOptions{Percent: 0, Floor: 1})
	x := indexOf(IndexLimits{Entries: 100, Lane: 8, Parked: 10})
	x.budget = b
	fail(t, x, 1, 1, now.Add(-time.Hour))
	for b.Withdraw(now) { // it is spent
	}
	for i := range uint64(60) { // more than half of the index
		x.add([]Entry{{Sequence: i + 2, Lane: fmt.Sprint(i), Route: "facts", Latest: true, Accepted: now}})
		e, _ := x.next()
		e.Next = now.Add(retryPause)
		x.postpone(e)
	}
	require.Equal(t, 1, x.held(now), "the retry alone")
	_, at := x.wakeDue(now)
	require.Equal(t, now.Add(retryPause), at)
	x.wakeDue(at)
	for range 60 {
		e, ok := x.next()
		require.True(t, ok)
		x.settle(e)
		x.wakeDue(at)
	}
	_, ok := x.next()
	require.False(t, ok)
}

// A retry that turns out to be superseded, or is kept back, costs nothing.
func TestARetryThatIsNotMadeIsPaidBack(t *testing.T) {
	now := time.Unix(1e9, 0)
	for name, reply := range map[string]NewestReply{"superseded": {Newest: []Newest{{Place{Lane: "web", Route: "facts"}, 8, "it"}}}, "kept back": {}} {
		r, e := lastLook(t, &oracle{reply: reply}, &now)
		r.Budget = NewBudget(BudgetOptions{Floor: 1})
		for range budgetWindow {
			require.True(t, r.Budget.Withdraw(now))
		}
		e.Attempts = 1
		require.True(t, r.replaced(t.Context(), e, &Message{Lane: "web", Route: "facts"}), name)
		require.True(t, r.Budget.Withdraw(now), name)
	}
}

// Two questions that were not answered, long after each other, are no reason to
// deliver what may be replaced, when the edge has known in between.
func TestPatienceBeginsAnewWithEveryAnswer(t *testing.T) {
	now := time.Unix(1e9, 0)
	r, e := lastLook(t, &oracle{reply: NewestReply{Known: true}}, &now)
	for _, ask := range []func(){
		func() { r.lookUp(t.Context(), []Entry{e}) },
		func() { r.follow(t.Context()) },
	} {
		require.True(t, r.compaction.keepsBack(false, now))
		ask()
		now = now.Add(2 * unsurePatience)
		require.True(t, r.compaction.keepsBack(false, now))
	}
}
