package broker_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/deliveries"
)

// record opens a drain's own record; it is closed with the test.
func record(t *testing.T, dir string) *deliveries.Record {
	t.Helper()
	r, err := deliveries.Open(deliveries.Options{Dir: dir, Window: deliveries.DefaultWindow, Now: time.Now,
		Log: zerolog.New(zerolog.NewTestWriter(t))})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// mute is a journal whose events do not come through any more: what a drain finds
// that will be killed next.
type mute struct {
	relay.Journal
	tried chan struct{}
}

func (j mute) Record(context.Context, relay.Event) error {
	select {
	case j.tried <- struct{}{}:
	default:
	}
	return errors.New("no way to the edge")
}

// dieBeforeTheEvent delivers the first message and ends before that is recorded.
func dieBeforeTheEvent(t *testing.T, c *broker.Channel, d relay.Destination, r relay.Deliveries) {
	t.Helper()
	tried := make(chan struct{}, 1)
	stop := runDrain(t, c, d, func(o *relay.DrainOptions) {
		o.Deliveries, o.StopTimeout = r, time.Millisecond
		o.Journal = func(q relay.Queue) (relay.Journal, error) {
			j, err := c.Journal(q)
			return mute{j, tried}, err
		}
	})
	<-tried
	stop()
}

// A drain that ends between the destination's answer and the event does not send
// the message again: not in the same process, not far away, and not when the
// message has become too old meanwhile. Without the record it does.
func TestWhatWasAnsweredIsNotSentAgain(t *testing.T) {
	for name, c := range map[string]struct {
		far, kept, old bool
		sent           int
	}{
		"in the same process": {false, true, false, 1}, "far away": {true, true, false, 1},
		"too old meanwhile": {false, true, true, 1}, "without a record": {false, false, false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			b, certs := listening(t)
			connect := func() *broker.Channel {
				if c.far {
					return dial(t, b, certs, "drain")
				}
				near, err := b.Connect(queue.Destination)
				require.NoError(t, err)
				return near
			}
			dir := filepath.Join(t.TempDir(), "deliveries")
			kept := func() relay.Deliveries {
				if !c.kept {
					return nil
				}
				return record(t, dir)
			}
			first := accept(t, b, message("host", "k", "1"))
			accept(t, b, message("host", "", "2"))
			d := newDestination(delivered)
			dieBeforeTheEvent(t, connect(), d, kept())
			require.Equal(t, []string{"1"}, d.bodies())

			runDrain(t, connect(), d, func(o *relay.DrainOptions) {
				o.Deliveries = kept() // as the next process reads it
				if c.old {
					o.Policy = func(string) relay.Policy { return relay.Policy{MaxAge: time.Nanosecond} }
				}
			})
			s := status(t, b, settled)
			m, err := b.Message(t.Context(), first.ID)
			require.NoError(t, err)
			require.Equal(t, []any{relay.Delivered, 1, 1}, []any{m.State, m.Attempts, len(m.Events)})
			times := map[string]int{}
			for _, body := range d.bodies() {
				times[body]++
			}
			require.Equal(t, c.sent, times["1"])
			if c.kept {
				require.Equal(t, relay.ReasonDeliveredBefore, m.Reason)
			}
			if !c.old {
				require.EqualValues(t, 2, s.Delivered)
				require.Equal(t, 1, times["2"])
			}
			balanced(t, b)
		})
	}
}

// An edge that has lost its events in a power cut offers everything again.
func TestWhatTheEdgeHasForgottenIsNotSentAgain(t *testing.T) {
	dir, before := stateDir(t), filepath.Join(t.TempDir(), "before")
	b := open(t, dir, nil)
	for _, body := range []string{"1", "2", "3"} {
		accept(t, b, message("host", body, body))
	}
	b.Close()
	require.NoError(t, os.CopyFS(before, os.DirFS(dir)))

	d, r := newDestination(delivered), record(t, filepath.Join(t.TempDir(), "deliveries"))
	keep := func(o *relay.DrainOptions) { o.Deliveries = r }
	b = open(t, dir, nil)
	stop := drain(t, b, d, keep)
	status(t, b, settled)
	stop()
	b.Close()

	b = open(t, before, nil)
	drain(t, b, d, keep)
	accept(t, b, message("host", "4", "4"))
	s := status(t, b, settled)
	require.EqualValues(t, 4, s.Delivered)
	require.Equal(t, []string{"1", "2", "3", "4"}, d.bodies())
	balanced(t, b)
}

// What an operator replays is a new message, whatever the record says of the
// letter, and has a key of its own.
func TestAReplayIsSentWhateverTheRecordSays(t *testing.T) {
	b := open(t, stateDir(t), nil)
	r := record(t, filepath.Join(t.TempDir(), "deliveries"))
	var fail atomic.Bool
	fail.Store(true)
	d := newDestination(func(n int, m *relay.Message) relay.Result {
		if fail.Load() {
			return rejected(n, m)
		}
		return delivered(n, m)
	})
	drain(t, b, d, func(o *relay.DrainOptions) { o.Deliveries = r })
	m := message("host", "order-66", "body")
	accept(t, b, m)
	require.EqualValues(t, 1, status(t, b, settled).Dead)
	require.NoError(t, r.Note(m))
	fail.Store(false)
	receipt, err := b.Replay(t.Context(), m.ID)
	require.NoError(t, err)
	require.EqualValues(t, 1, status(t, b, settled).Delivered)
	require.Len(t, d.bodies(), 2)
	require.Equal(t, []string{"order-66", receipt.ID}, []string{d.got[0].DeliveryKey(), d.got[1].DeliveryKey()})
}

// full is a record on a full disk.
type full struct{ notes atomic.Int32 }

func (*full) Done(*relay.Message) bool { return false }

func (f *full) Note(*relay.Message) error {
	f.notes.Add(1)
	return errors.New("no space left on device")
}

func (f *full) Begin(m *relay.Message) error { return f.Note(m) }
func (f *full) End(m *relay.Message) error   { return f.Note(m) }
func (*full) Unended(*relay.Message) bool    { return false }

func TestARecordThatCannotBeWrittenStopsNothing(t *testing.T) {
	b := open(t, stateDir(t), nil)
	d, r, log := newDestination(delivered), &full{}, &bytes.Buffer{}
	stop := drain(t, b, d, func(o *relay.DrainOptions) { o.Deliveries, o.Log = r, zerolog.New(log) })
	for _, body := range []string{"1", "2", "3"} {
		accept(t, b, message("host", "", body))
	}
	require.EqualValues(t, 3, status(t, b, settled).Delivered)
	stop()
	require.EqualValues(t, 3, r.notes.Load())
	require.Equal(t, 1, strings.Count(log.String(), "no space left"), "it is said once")
}

// hanging has what it is sent, and answers nothing until the attempt is cut off.
type hanging struct{ sent chan struct{} }

func (h hanging) Deliver(ctx context.Context, _ *relay.Message) relay.Result {
	close(h.sent)
	<-ctx.Done()
	return unanswered
}

func (hanging) Probe(context.Context) error { return nil }

// Of what must not be done twice: an attempt that was answered leaves no doubt,
// whatever the answer was; one that a stop has cut off does, and is not made
// again.
func TestWhatMustNotBeDoneTwice(t *testing.T) {
	once := func(r relay.Deliveries) func(*relay.DrainOptions) {
		return func(o *relay.DrainOptions) {
			policy := o.Policy("").Once()
			o.Policy = func(string) relay.Policy { return policy }
			o.Deliveries, o.StopTimeout = r, time.Millisecond
		}
	}
	b := open(t, stateDir(t), nil)
	r := record(t, filepath.Join(t.TempDir(), "deliveries"))
	d := newDestination(func(n int, m *relay.Message) relay.Result {
		if n == 1 {
			return relay.Result{Class: relay.ClassTransient, Status: 500, Reason: relay.ReasonServerError}
		}
		return delivered(n, m)
	})
	stop := drain(t, b, d, once(r))
	accept(t, b, message("host", "", "1"))
	require.EqualValues(t, 1, status(t, b, settled).Delivered)
	require.Equal(t, []string{"1", "1"}, d.bodies())
	stop()

	h := hanging{make(chan struct{})}
	stop = drain(t, b, h, once(r))
	cut := accept(t, b, message("host", "", "2"))
	<-h.sent
	stop()
	drain(t, b, d, once(r))
	require.EqualValues(t, 1, status(t, b, settled).Dead)
	require.Equal(t, []string{"1", "1"}, d.bodies())
	m, err := b.Message(t.Context(), cut.ID)
	require.NoError(t, err)
	require.Equal(t, []any{relay.ReasonAmbiguous, 1, 1}, []any{m.Reason, m.Attempts, m.Ambiguous})
	balanced(t, b)
}
