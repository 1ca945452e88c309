package relay

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// sweptJournal gives its entries once and remembers what is recorded.
type sweptJournal struct {
	entries []Entry
	read    bool

	mu       sync.Mutex
	recorded []Event
	after    func(n int) // told after each record
}

func (j *sweptJournal) Ledger(context.Context) (*Ledger, error) {
	l := NewLedger()
	for i, e := range j.events() {
		l.Apply(e, uint64(i+1))
	}
	return l, nil
}

func (j *sweptJournal) Seek(context.Context, uint64) error {
	j.read = false
	return nil
}

func (j *sweptJournal) Read(ctx context.Context, _ int) ([]Entry, error) {
	if !j.read {
		j.read = true
		return j.entries, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (j *sweptJournal) Lane(context.Context, string, bool, uint64, uint64, int) ([]Entry, error) {
	return nil, nil
}

func (j *sweptJournal) Scheduled(context.Context, bool, uint64, uint64, int) ([]Entry, error) {
	return nil, nil
}

func (j *sweptJournal) Newest(context.Context, NewestRequest) (NewestReply, error) {
	return NewestReply{Known: true}, nil
}

func (j *sweptJournal) Message(_ context.Context, sequence uint64) (*Message, error) {
	return &Message{ID: fmt.Sprint(sequence), Expires: j.entries[sequence-1].Expires}, nil
}

func (j *sweptJournal) Record(_ context.Context, e Event) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.recorded = append(j.recorded, e)
	if j.after != nil {
		j.after(len(j.recorded))
	}
	return nil
}

func (j *sweptJournal) events() []Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]Event(nil), j.recorded...)
}

// sweptTerm is a term with what the journal gives in its index.
func sweptTerm(j *sweptJournal, now time.Time, valid func() bool) *term {
	x := newIndex(DefaultIndexLimits(), 0, nothingSettled)
	x.add(j.entries)
	return &term{Worker: &Worker{Journal: j, Policy: func(string) Policy { return DefaultPolicy() }, Now: func() time.Time { return now }, Log: zerolog.Nop()},
		Term: Term{Valid: valid}, x: x, known: NewLedger(), hard: context.Background()}
}

func tooOldEntries(n int, now time.Time) (entries []Entry) {
	for i := range n {
		entries = append(entries, Entry{Sequence: uint64(i + 1), Lane: fmt.Sprint(i % 3), Accepted: now.Add(-8 * 24 * time.Hour)})
	}
	return entries
}

// What is too old is settled, lane after lane and each from its head on, and
// nothing else is.
func TestTheSweepSettlesWhatIsTooOld(t *testing.T) {
	now := time.Unix(1e9, 0)
	j := &sweptJournal{entries: append(tooOldEntries(9, now),
		Entry{Sequence: 10, Lane: "0", Accepted: now}, Entry{Sequence: 11, Lane: "5", Accepted: now, Expires: now.Add(-time.Second)},
		Entry{Sequence: 12, Lane: "6", Accepted: now.Add(-8 * 24 * time.Hour), NotBefore: now.Add(-time.Hour)},
		Entry{Sequence: 13, Lane: "7", Accepted: now, Expires: now.Add(time.Second)},
		Entry{Sequence: 14, Lane: "8", Accepted: now, Expires: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)})}
	s := sweptTerm(j, now, func() bool { return true })
	s.sweepOnce(t.Context())
	reasons := map[uint64]string{}
	last := map[uint64]uint64{}
	for _, e := range j.events() {
		require.Equal(t, Dead, e.State)
		reasons[e.Sequence] = e.Reason
		if e.Sequence < 10 {
			require.Greater(t, e.Sequence, last[e.Sequence%3], "in order")
			last[e.Sequence%3] = e.Sequence
		}
	}
	require.Len(t, reasons, 10)
	require.Equal(t, ReasonMaxAge, reasons[1])
	require.Equal(t, ReasonExpired, reasons[11])
}

// A sweep that finds its lease gone settles nothing more: another drain may be at
// it already.
func TestTheSweepEndsWithItsTerm(t *testing.T) {
	now := time.Unix(1e9, 0)
	t.Run("the lease ran out", func(t *testing.T) {
		j := &sweptJournal{entries: tooOldEntries(30, now)}
		s := sweptTerm(j, now, func() bool { return len(j.events()) < 4 })
		s.sweepOnce(t.Context())
		require.Len(t, j.events(), 4)
	})
	t.Run("the term was ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		j := &sweptJournal{entries: tooOldEntries(30, now), after: func(n int) {
			if n == 4 {
				cancel()
			}
		}}
		s := sweptTerm(j, now, func() bool { return true })
		s.sweepOnce(ctx)
		require.Len(t, j.events(), 4)
		require.Empty(t, s.x.busy)
	})
}

// A paused queue delivers nothing, and what it cannot deliver in time becomes a
// dead letter all the same; what is due meanwhile too.
func TestAPausedTermSweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		j := &sweptJournal{entries: []Entry{{Sequence: 1, Lane: "a", Accepted: now, Expires: now.Add(time.Minute)}, {Sequence: 2, Lane: "b", Accepted: now},
			{Sequence: 3, Lane: "c", Accepted: now, NotBefore: now.Add(time.Minute), Expires: now.Add(2 * time.Minute)}}}
		w := &Worker{Journal: j, Gate: NewGate(DefaultGateOptions(), func(context.Context) error { return nil }),
			Policy: func(string) Policy { return DefaultPolicy() }, Limits: DefaultIndexLimits(), Now: time.Now, Log: zerolog.Nop()}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = w.Run(ctx, ctx, Term{Epoch: 1, Valid: func() bool { return true }, Paused: true})
		}()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		require.Empty(t, j.events())
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		cancel()
		<-done
		var gone []uint64
		for _, e := range j.events() {
			require.Equal(t, []any{Dead, ReasonExpired, 0}, []any{e.State, e.Reason, e.Attempt})
			gone = append(gone, e.Sequence)
		}
		require.Equal(t, []uint64{1, 3}, gone)
	})
}

// What a term takes up just after it was ended it leaves alone, also what is to be
// settled without an attempt: the edge was told that nothing is under way, and may
// be settling it itself.
func TestATermThatWasEndedSettlesNothing(t *testing.T) {
	now := time.Unix(1e9, 0)
	for name, settle := range map[string]func(*term, Entry){
		"an attempt": func(s *term, e Entry) {
			p, err := s.Gate.Acquire(t.Context(), s.Queue)
			require.NoError(t, err)
			s.attempt(t.Context(), e, p)
			s.Gate.Done(p)
		},
		"a sweep": func(s *term, e Entry) { s.expire(t.Context(), e) },
	} {
		t.Run(name, func(t *testing.T) {
			ended := false
			j := &sweptJournal{entries: tooOldEntries(1, now)}
			s := sweptTerm(j, now, func() bool { return !ended })
			s.Gate = NewGate(DefaultGateOptions(), func(context.Context) error { return nil })
			s.Knows = func(string) bool { return false }
			e, ok := s.x.next()
			require.True(t, ok)
			ended = true
			settle(s, e)
			require.Empty(t, j.events())
			require.Empty(t, s.x.busy)
			ended = false
			e, ok = s.x.next()
			require.True(t, ok)
			settle(s, e)
			require.Len(t, j.events(), 1)
		})
	}
}
