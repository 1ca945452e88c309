package relay

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// modelDeliveries is what a machine keeps of its deliveries: it outlives the
// drains on it.
type modelDeliveries struct {
	done         map[string]bool
	begun, ended map[string]int
	doubts       map[uint64]int // by sequence: attempts of which nobody knows what came
}

func newModelDeliveries() *modelDeliveries {
	return &modelDeliveries{done: map[string]bool{}, begun: map[string]int{}, ended: map[string]int{}, doubts: map[uint64]int{}}
}

// modelRecord is that as one process sees it, which writes nothing once it was
// killed.
type modelRecord struct {
	kept *modelDeliveries
	w    *world
	p    *process
}

func (r *modelRecord) write(f func(*modelDeliveries)) error {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if r.p.killed {
		return errKilled
	}
	f(r.kept)
	return nil
}

func (r *modelRecord) Note(m *Message) error {
	return r.write(func(d *modelDeliveries) { d.done[m.ID] = true })
}

func (r *modelRecord) Begin(m *Message) error {
	return r.write(func(d *modelDeliveries) { d.begun[m.ID]++ })
}

func (r *modelRecord) End(m *Message) error {
	return r.write(func(d *modelDeliveries) { d.ended[m.ID]++ })
}

func (r *modelRecord) Done(m *Message) bool {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	return r.kept.done[m.ID]
}

func (r *modelRecord) Unended(m *Message) bool {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	return r.kept.begun[m.ID] > r.kept.ended[m.ID] && !r.kept.done[m.ID]
}

// doubt notes an attempt of which nobody knows what came.
func (w *world) doubt(sequence uint64) {
	if w.alone != nil {
		w.alone.doubts[sequence]++
	}
}

// judgeAlone: a machine with a record of its deliveries sends nothing twice that
// was answered, whatever is killed, stopped, cut off or loses power; nothing at
// all that must not be done twice; and gives nothing up without a doubt.
func (w *world) judgeAlone(m *modelMessage, arrivals int, last Event) {
	if w.alone == nil {
		return
	}
	most := 1
	if m.Route != "once" {
		most += w.alone.doubts[m.Sequence]
	}
	if last.Reason == ReasonAmbiguous && (m.Route != "once" || w.alone.doubts[m.Sequence] == 0) {
		w.wrong("%d is given up as ambiguous, and is not", m.Sequence)
	}
	if arrivals > most {
		w.wrong("the destination has got %d, of route %s, %d times; %d at most", m.Sequence, m.Route, arrivals, most)
	}
}

// As TestTheWorkerAgainstItsModel, with one machine that keeps a record of its
// deliveries.
func TestARecordOfDeliveriesAgainstItsModel(t *testing.T) {
	seen := 0
	for seed := *modelSeed; seed < *modelSeed+*modelSeeds/2+1; seed++ {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(seed)
			w.alone = newModelDeliveries()
			w.live(rand.New(rand.NewPCG(seed, 1)))
			w.judge()
			if len(w.broken) > 0 {
				t.Fatalf("seed %d: %s\n%s", seed, w.broken[0], w.story())
			}
			for _, e := range w.events {
				if e.Reason == ReasonDeliveredBefore {
					seen++
				}
			}
		})
	}
	if *modelSeeds >= 100 { // the runs must have been about something
		require.Positive(t, seen, "messages that were not sent again")
		t.Logf("not sent again: %d", seen)
	}
}
