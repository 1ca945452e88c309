package broker_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// exported is a letter as a line of an export.
func exported(t *testing.T, b *broker.Broker, id string) (relay.ExportedLetter, string) {
	t.Helper()
	x, err := b.ExportDeadLetter(t.Context(), id)
	require.NoError(t, err)
	line, err := json.Marshal(x)
	require.NoError(t, err)
	var read relay.ExportedLetter
	require.NoError(t, json.Unmarshal(line, &read))
	return read, string(line)
}

// Export, discard, import and export: the same bytes, the same letter, another
// sequence, and a ledger that balances, also when a drain runs.
func TestALetterComesBackAsItWas(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	stop := drain(t, b, newDestination(failing(3)), quick(12))
	bodies := map[string]string{}
	for host, body := range map[string]string{"text": "ü<&>\n\u2028", "bytes": "\x00\xff\xfe", "empty": "", "control": strings.Repeat("\x01", 100), "large": strings.Repeat("x", 200_000)} {
		m := message(host, "key of "+host, body)
		m.Path, m.Header, m.ContentType = "/p?a=%41", map[string]string{"X-Rhn": "ä"}, "text/plain"
		bodies[accept(t, b, m).ID] = body
	}
	status(t, b, func(s relay.QueueStatus) bool { return s.Dead == 5 })
	stop()
	drain(t, b, newDestination(delivered), nil)
	before := map[string]string{}
	letters := map[string]relay.DeadLetter{}
	for id, body := range bodies {
		x, line := exported(t, b, id)
		require.Equal(t, body, string(x.Body()))
		before[id] = line
		l, err := b.DeadLetter(t.Context(), id)
		require.NoError(t, err)
		letters[id] = l
		require.NoError(t, b.Discard(t.Context(), id))
		done, err := b.ImportDeadLetter(t.Context(), x)
		require.NoError(t, err)
		require.False(t, done.Known)
		again, err := b.ImportDeadLetter(t.Context(), x)
		require.NoError(t, err)
		require.Equal(t, []any{true, done.Sequence}, []any{again.Known, again.Sequence})
	}
	check := func() {
		t.Helper()
		for id := range bodies {
			_, line := exported(t, b, id)
			require.Equal(t, before[id], line)
			l, err := b.DeadLetter(t.Context(), id)
			require.NoError(t, err)
			require.Len(t, l.History.Events, 4)
			l.Sequence, l.Place = letters[id].Sequence, letters[id].Place
			require.Equal(t, letters[id], l)
		}
		s := status(t, b, settled)
		require.Equal(t, []uint64{10, 5, 5, 0}, []uint64{s.Accepted, s.Dead, s.Discarded, s.Delivered})
		balanced(t, b)
	}
	check()
	b.Close()
	b = open(t, dir, nil)
	check()

	d := newDestination(delivered)
	drain(t, b, d, nil)
	for id := range bodies {
		_, err := b.Replay(t.Context(), id, relay.Edit{})
		require.NoError(t, err)
	}
	s := status(t, b, settled)
	require.Equal(t, []uint64{0, 5, 5}, []uint64{s.Dead, s.Delivered, s.Superseded})
	require.Len(t, d.bodies(), 5, "once each, by its replay")
	balanced(t, b)
}

// The largest body has room for its death beside it, here and after an import.
func TestTheLargestLetterComesBack(t *testing.T) {
	b := open(t, stateDir(t), nil)
	drain(t, b, newDestination(failing(2)), quick(12))
	r := accept(t, b, message("host", "k", strings.Repeat("x", 8<<20)))
	status(t, b, func(s relay.QueueStatus) bool { return s.Dead == 1 })
	x, err := b.ExportDeadLetter(t.Context(), r.ID)
	require.NoError(t, err)
	require.Len(t, x.History.Events, 3)
	require.NoError(t, b.Discard(t.Context(), r.ID))
	_, err = b.ImportDeadLetter(t.Context(), x)
	require.NoError(t, err)
	again, err := b.ExportDeadLetter(t.Context(), r.ID)
	require.NoError(t, err)
	require.True(t, *x.Text == *again.Text, "8 MiB are no message of a failed test")
	require.Equal(t, x.History, again.History)
	require.Equal(t, x.Envelope, again.Envelope, "where a body is kept is the business of each relay")
	balanced(t, b)
}

// A value is set in a body that is kept in pieces, and the whole of it is
// delivered; after an import too.
func TestALargeLetterIsEdited(t *testing.T) {
	from, to := open(t, stateDir(t), nil), open(t, stateDir(t), nil)
	drain(t, from, newDestination(rejected), nil)
	r := accept(t, from, message("host", "k", `{"a":"`+strings.Repeat("x", 2<<20)+`","b":1}`))
	status(t, from, settled)
	x, _ := exported(t, from, r.ID)
	_, err := to.ImportDeadLetter(t.Context(), x)
	require.NoError(t, err)
	for _, b := range []*broker.Broker{from, to} {
		replay, err := b.Replay(t.Context(), r.ID, relay.Edit{Set: []relay.Replacement{{Pointer: "/b", Value: json.RawMessage("2")}}})
		require.NoError(t, err)
		m, err := b.Message(t.Context(), replay.ID)
		require.NoError(t, err)
		require.Equal(t, relay.DigestOf([]byte(`{"a":"`+strings.Repeat("x", 2<<20)+`","b":2}`)), m.Digest)
	}
	d := newDestination(delivered)
	drain(t, to, d, nil)
	status(t, to, settled)
	d.mu.Lock()
	defer d.mu.Unlock()
	require.Len(t, d.got, 1)
	body, err := d.got[0].Load(t.Context())
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(body), `","b":2}`) && len(body) == 2<<20+14, "%d bytes", len(body))
	balanced(t, to)
}

// A letter goes to another relay with the same queue.
func TestALetterGoesToAnotherRelay(t *testing.T) {
	from, to := open(t, stateDir(t), nil), open(t, stateDir(t), nil)
	drain(t, from, newDestination(rejected), nil)
	r := accept(t, from, message("host", "k", "x"))
	status(t, from, settled)
	x, line := exported(t, from, r.ID)
	_, err := to.ImportDeadLetter(t.Context(), x)
	require.NoError(t, err)
	_, there := exported(t, to, r.ID)
	require.Equal(t, line, there)
	s := status(t, to, settled)
	require.Equal(t, []uint64{1, 1}, []uint64{s.Accepted, s.Dead}, "without any drain")
	m, err := to.Message(t.Context(), r.ID)
	require.NoError(t, err)
	require.Equal(t, []any{relay.Dead, relay.ReasonRejected}, []any{m.State, m.Reason})
	balanced(t, to)

	x.Queue.Organization = "elsewhere"
	_, err = to.ImportDeadLetter(t.Context(), x)
	require.Equal(t, relay.CodeNotFound, relay.CodeOf(err))
	require.ErrorContains(t, err, "is of queue elsewhere/foreman, which this relay does not have")
}

// An import that a crash has cut short is completed by the drain or by the same
// import again, and delivered by neither.
func TestAnImportThatWasCutShort(t *testing.T) {
	for _, drained := range []bool{false, true} {
		from, to := open(t, stateDir(t), nil), open(t, stateDir(t), nil)
		drain(t, from, newDestination(rejected), nil)
		r := accept(t, from, message("host", "k", "x"))
		status(t, from, settled)
		x, line := exported(t, from, r.ID)
		require.NoError(t, broker.StoreImport(t.Context(), to, x))
		require.EqualValues(t, 1, status(t, to, func(relay.QueueStatus) bool { return true }).Pending)
		d := newDestination(delivered)
		if drained {
			drain(t, to, d, nil)
		} else {
			done, err := to.ImportDeadLetter(t.Context(), x)
			require.NoError(t, err)
			require.False(t, done.Known)
		}
		s := status(t, to, settled)
		require.Equal(t, []uint64{1, 1}, []uint64{s.Accepted, s.Dead})
		_, there := exported(t, to, r.ID)
		require.Equal(t, line, there)
		require.Empty(t, d.bodies())
		balanced(t, to)
	}
}

// A letter that is imported stands before nobody of its host, even while it is
// not settled.
func TestAnImportedLetterHasALaneOfItsOwn(t *testing.T) {
	from, to := open(t, stateDir(t), nil), open(t, stateDir(t), nil)
	drain(t, from, newDestination(rejected), nil)
	r := accept(t, from, message("host", "k", "x"))
	status(t, from, settled)
	x, _ := exported(t, from, r.ID)
	require.NoError(t, broker.StoreImport(t.Context(), to, x))
	for i, want := range []bool{false, true} {
		e, err := to.Why(t.Context(), accept(t, to, message("host", "", "later")).ID)
		require.NoError(t, err)
		require.Equal(t, want, e.Ahead != nil, "message %d", i)
	}
}

func TestTwoImportsAtOneTimeMakeOneLetter(t *testing.T) {
	from, to := open(t, stateDir(t), nil), open(t, stateDir(t), nil)
	drain(t, from, newDestination(rejected), nil)
	r := accept(t, from, message("host", "k", "x"))
	status(t, from, settled)
	x, _ := exported(t, from, r.ID)
	drain(t, to, newDestination(delivered), nil)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, err := to.ImportDeadLetter(t.Context(), x)
			if err != nil {
				require.Equal(t, relay.CodeInFlight, relay.CodeOf(err), err)
			}
		})
	}
	all.Wait()
	s := status(t, to, settled)
	require.Equal(t, []uint64{1, 1}, []uint64{s.Accepted, s.Dead})
	balanced(t, to)
}

// What this relay knows otherwise is refused, and so is what is no letter.
func TestAnImportIsRefused(t *testing.T) {
	t.Parallel()
	b := open(t, stateDir(t), nil)
	d, kind := twoMinds()
	stop := drain(t, b, d, nil)
	letter := accept(t, b, message("host", "k", "x"))
	status(t, b, settled)
	x, _ := exported(t, b, letter.ID)
	refused := func(code relay.Code, text string, change func(*relay.ExportedLetter)) {
		t.Helper()
		var y relay.ExportedLetter
		line, err := json.Marshal(x)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(line, &y))
		change(&y)
		_, err = b.ImportDeadLetter(t.Context(), y)
		require.Equal(t, code, relay.CodeOf(err), err)
		require.ErrorContains(t, err, text)
	}
	other := func(y *relay.ExportedLetter) {
		y.SetBody([]byte("y"))
		y.Envelope["Relay-Digest"] = relay.DigestOf(y.Body())
	}
	same := func(*relay.ExportedLetter) {}
	refused(relay.CodeConflict, "there is another dead letter", other)
	refused(relay.CodeConflict, "there is another dead letter", func(y *relay.ExportedLetter) { y.DiedAt = time.Now() })
	refused(relay.CodeInvalid, "version 2, this program reads 1", func(y *relay.ExportedLetter) { y.Version = 2 })
	refused(relay.CodeInvalid, `"whim" is no reason of a dead letter`, func(y *relay.ExportedLetter) { y.Reason = "whim" })
	refused(relay.CodeInvalid, "is not the one that was accepted", func(y *relay.ExportedLetter) { y.SetBody([]byte("z")) })
	refused(relay.CodeInvalid, "its envelope is that of "+letter.ID, func(y *relay.ExportedLetter) { y.ID = relay.FreshID(queue) })
	refused(relay.CodeInvalid, "is no header of an envelope", func(y *relay.ExportedLetter) { y.Envelope["Nats-Rollup"] = "all" })
	refused(relay.CodeInvalid, "is no header of an envelope", func(y *relay.ExportedLetter) { y.Envelope["Relay-Dead-Sequence"] = "1" })
	refused(relay.CodeInvalid, "is no header of an envelope", func(y *relay.ExportedLetter) { y.Envelope["Relay-X"] = "a\r\nb: c" })
	refused(relay.CodeInvalid, `"a.>" is no name of a route`, func(y *relay.ExportedLetter) { y.Envelope["Relay-Route"] = "a.>" })
	refused(relay.CodeInvalid, "its detail has 2000 bytes", func(y *relay.ExportedLetter) { y.Detail = strings.Repeat("a", 2000) })
	refused(relay.CodeInvalid, "envelope version", func(y *relay.ExportedLetter) { y.Envelope["Relay-Version"] = "99" })
	refused(relay.CodeTooLarge, "its envelope has more than", func(y *relay.ExportedLetter) { y.Envelope["Relay-Kept-A"] = strings.Repeat("a", 70_000) })
	refused(relay.CodeTooLarge, "more than", func(y *relay.ExportedLetter) { y.SetBody(make([]byte, broker.MaxBody+1)) })

	stop()
	pending := accept(t, b, message("host", "pending", "p"))
	_, err := b.Replay(t.Context(), letter.ID, relay.Edit{})
	require.NoError(t, err)
	refused(relay.CodeConflict, "was replaced here", same)
	refused(relay.CodeConflict, "with another body", other)
	asPending := func(y *relay.ExportedLetter) {
		y.ID = pending.ID
		y.SetBody([]byte("p"))
		y.Envelope["Relay-Id"], y.Envelope["Relay-Digest"] = y.ID, relay.DigestOf(y.Body())
	}
	refused(relay.CodeConflict, "is waiting to be delivered here", asPending)
	kind.Store(true)
	drain(t, b, d, nil)
	status(t, b, settled)
	refused(relay.CodeConflict, "is settled here (delivered)", asPending)
	s := status(t, b, settled)
	require.Equal(t, []uint64{3, 0, 2, 1}, []uint64{s.Accepted, s.Dead, s.Delivered, s.Superseded}, "nothing was imported")
	balanced(t, b)
}
