package broker_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// largeText is a body of so many bytes in which no two pieces are alike.
func largeText(size int) string {
	body := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(body) // it never fails
	return string(body)
}

// incoming is a message whose body is still to come, of a size that nobody said.
func incoming(host, key string, body io.Reader) *relay.Message {
	m := message(host, key, "")
	m.Body, m.Digest, m.Size = nil, "", -1
	m.Open = func(context.Context) (io.ReadCloser, error) { return io.NopCloser(body), nil }
	return m
}

// collector is a destination that reads each body to its end, and keeps it or why
// it could not be read.
type collector struct {
	mu     sync.Mutex
	bodies map[string]string
	errs   []error
	cut    []string // what was read of those that could not be read to their end
	result relay.Result
}

func newCollector() *collector {
	return &collector{bodies: map[string]string{}, result: delivered(0, nil)}
}

func (c *collector) Deliver(ctx context.Context, m *relay.Message) relay.Result {
	r, err := m.Content(ctx)
	var body []byte
	if err == nil {
		body, err = io.ReadAll(r)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.errs, c.cut = append(c.errs, err), append(c.cut, string(body))
		return relay.Result{Class: relay.ClassRejected, Reason: relay.ReasonDamaged, Detail: err.Error()}
	}
	c.bodies[m.ID] = string(body)
	return c.result
}

func (c *collector) Probe(context.Context) error { return nil }

func (c *collector) body(id string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bodies[id]
}

func (c *collector) answer(r relay.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.result = r
}

// same compares without printing megabytes.
func same(t *testing.T, want, got string) {
	t.Helper()
	require.Equal(t, []any{len(want), relay.DigestOf([]byte(want))}, []any{len(got), relay.DigestOf([]byte(got))})
}

// A large body, in memory or still to come, is kept beside the journal, over a
// restart, and delivered as it was; it counts in the queue's bytes.
func TestLargeBodiesAreDeliveredAsTheyCame(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	whole, comes, small := largeText(relay.MaxInline+1), largeText(3*relay.MaxInline+12345), strings.Repeat("x", relay.MaxInline)
	first := accept(t, b, message("a", "", whole))
	second := accept(t, b, incoming("b", "", strings.NewReader(comes)))
	third := accept(t, b, message("c", "", small))
	require.Len(t, broker.ObjectFiles(b, queue), 2, "what fits a message is in it")
	s := status(t, b, func(relay.QueueStatus) bool { return true })
	require.Greater(t, s.Bytes, uint64(len(whole)+len(comes)+len(small)))
	m, err := b.Message(t.Context(), second.ID)
	require.NoError(t, err)
	require.Equal(t, []any{len(comes), relay.DigestOf([]byte(comes))}, []any{m.Bytes, m.Digest})
	balanced(t, b)
	b.Close()

	b = open(t, dir, nil)
	require.Equal(t, s.Bytes, status(t, b, func(relay.QueueStatus) bool { return true }).Bytes)
	d := newCollector()
	drain(t, b, d, nil)
	status(t, b, settled)
	same(t, whole, d.body(first.ID))
	same(t, comes, d.body(second.ID))
	same(t, small, d.body(third.ID))
	require.EqualValues(t, 3, balanced(t, b).Totals[relay.Delivered])
}

// A far drain reads the pieces over its narrow channel.
func TestAFarDrainDeliversALargeBody(t *testing.T) {
	b, certs := listening(t)
	text := largeText(2*relay.MaxInline + 1)
	r := accept(t, b, message("host", "", text))
	d := newCollector()
	runDrain(t, dial(t, b, certs, "drain"), d, nil)
	status(t, b, settled)
	same(t, text, d.body(r.ID))
}

func TestKeysOfLargeBodies(t *testing.T) {
	b := open(t, stateDir(t), anyDisk)
	text := largeText(2 * relay.MaxInline)
	first := accept(t, b, incoming("host", "k", strings.NewReader(text)))
	require.False(t, first.Replayed)
	for _, again := range []*relay.Message{incoming("host", "k", strings.NewReader(text)), message("host", "k", text)} {
		r := accept(t, b, again)
		require.Equal(t, []any{first.ID, true}, []any{r.ID, r.Replayed})
	}
	r, err := b.Again(t.Context(), incoming("host", "k", strings.NewReader(text))) // its times are over by now, say
	require.NoError(t, err)
	require.Equal(t, []any{first.ID, true}, []any{r.ID, r.Replayed})
	_, err = b.Again(t.Context(), incoming("host", "k", strings.NewReader(text+"x")))
	require.Equal(t, relay.CodeKeyConflict, relay.CodeOf(err))
	_, err = b.Again(t.Context(), incoming("host", "l", strings.NewReader(text)))
	require.Equal(t, relay.CodeNotFound, relay.CodeOf(err))
	for _, other := range []*relay.Message{incoming("host", "k", strings.NewReader(text+"x")), message("host", "k", "x"),
		incoming("elsewhere", "k", strings.NewReader(text))} {
		_, err := b.Accept(t.Context(), other)
		require.Equal(t, relay.CodeKeyConflict, relay.CodeOf(err))
	}
	require.Len(t, broker.ObjectFiles(b, queue), 1, "what was not accepted left nothing")
}

// Two uploads with one key at one time: one is stored, and only one.
func TestTwoUploadsWithOneKey(t *testing.T) {
	b := open(t, stateDir(t), anyDisk)
	text := largeText(2 * relay.MaxInline)
	half, rest := &gated{text: text, open: make(chan struct{}), at: make(chan struct{}, 1)}, ""
	done := make(chan relay.Receipt)
	go func() {
		r, err := b.Accept(context.Background(), incoming("host", "k", half))
		if err != nil {
			rest = err.Error()
		}
		done <- r
	}()
	<-half.at // it has begun, and knows of no other
	first := accept(t, b, incoming("host", "k", strings.NewReader(text)))
	close(half.open)
	second := <-done
	require.Empty(t, rest)
	require.Equal(t, []any{first.ID, true}, []any{second.ID, second.Replayed})
	require.Len(t, broker.ObjectFiles(b, queue), 1)
}

// gated is a body that stops in its middle until it is opened.
type gated struct {
	text string
	read int
	open chan struct{}
	at   chan struct{}
}

func (g *gated) Read(p []byte) (int, error) {
	if g.read > len(g.text)/2 {
		select {
		case g.at <- struct{}{}:
		default:
		}
		<-g.open
	}
	n := copy(p, g.text[g.read:])
	g.read += n
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// An upload that is broken off, for whatever reason, leaves nothing behind.
func TestABrokenUploadLeavesNothing(t *testing.T) {
	b := open(t, stateDir(t), anyDisk)
	before := status(t, b, func(relay.QueueStatus) bool { return true })
	broken := relay.Refuse(relay.CodeMalformed, "the body ended before it was complete")
	_, err := b.Accept(t.Context(), incoming("host", "", io.MultiReader(strings.NewReader(largeText(3<<20)), &breaking{broken})))
	require.Equal(t, relay.CodeMalformed, relay.CodeOf(err))

	_, err = b.Accept(t.Context(), incoming("host", "", io.MultiReader(strings.NewReader(largeText(3<<20)), &breaking{errors.New("unknown")})))
	require.Equal(t, relay.CodeUnavailable, relay.CodeOf(err))
	_, err = b.Accept(t.Context(), incoming("host", "", strings.NewReader("")))
	require.Equal(t, relay.CodeMalformed, relay.CodeOf(err))
	require.Empty(t, broker.ObjectFiles(b, queue))
	after := status(t, b, func(relay.QueueStatus) bool { return true })
	require.Equal(t, []uint64{before.Accepted, before.Bytes}, []uint64{after.Accepted, after.Bytes})
}

type breaking struct{ err error }

func (f *breaking) Read([]byte) (int, error) { return 0, f.err }

// What a crash leaves of an upload goes at the next start; what is next to it and
// needed stays.
func TestOrphansAreSweptAndNothingElse(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	text := largeText(2 * relay.MaxInline)
	kept := accept(t, b, message("host", "", text))
	orphan := broker.NewObjectName(b, queue)
	require.NoError(t, os.WriteFile(orphan, []byte(text), 0o600))
	stranger := filepath.Join(filepath.Dir(orphan), "not-ours")
	require.NoError(t, os.WriteFile(stranger, []byte("x"), 0o600))
	b.Close()

	b = open(t, dir, nil)
	require.Eventually(t, func() bool { return len(broker.ObjectFiles(b, queue)) == 1 }, 10*time.Second, 10*time.Millisecond)
	require.NoFileExists(t, orphan)
	require.FileExists(t, stranger)
	s := status(t, b, func(relay.QueueStatus) bool { return true })
	require.Less(t, s.Bytes, uint64(len(text)+len(text)/2), "an orphan does not count any more")
	d := newCollector()
	drain(t, b, d, nil)
	status(t, b, settled)
	same(t, text, d.body(kept.ID))
}

// An upload under way is no orphan.
func TestAnUploadUnderWayIsNotSwept(t *testing.T) {
	b := open(t, stateDir(t), anyDisk)
	text := largeText(3 * relay.MaxInline)
	slow := &gated{text: text, open: make(chan struct{}), at: make(chan struct{}, 1)}
	done := make(chan error)
	go func() {
		_, err := b.Accept(context.Background(), incoming("host", "", slow))
		done <- err
	}()
	<-slow.at
	broker.Sweep(t.Context(), b, queue)
	require.Len(t, broker.ObjectFiles(b, queue), 1)
	close(slow.open)
	require.NoError(t, <-done)
	broker.Sweep(t.Context(), b, queue)
	require.Len(t, broker.ObjectFiles(b, queue), 1)
	balanced(t, b)
}

// A settled body stays as long as its message is in the journal.
func TestASettledBodyGoesWithItsMessage(t *testing.T) {
	b := open(t, stateDir(t), anyDisk)
	accept(t, b, message("host", "", largeText(2<<20)))
	d := newCollector()
	drain(t, b, d, nil)
	status(t, b, settled)
	require.Len(t, broker.ObjectFiles(b, queue), 1)
	require.NoError(t, broker.Settle(t.Context(), b, queue))
	broker.Sweep(t.Context(), b, queue) // the journal window gives way
	require.Empty(t, broker.ObjectFiles(b, queue))
	require.Zero(t, status(t, b, settled).Bytes)
	balanced(t, b)
}

// A dead letter keeps its large body when the journal has forgotten the message;
// it is shown in part, replayed whole, and gone with the letter.
func TestADeadLetterKeepsItsLargeBody(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, anyDisk)
	text := largeText(2*relay.MaxInline + 7)
	d := newCollector()
	d.answer(rejected(0, nil))
	stop := drain(t, b, d, nil)
	r := accept(t, b, message("host", "k", text))
	status(t, b, settled)
	require.NoError(t, broker.Settle(t.Context(), b, queue))
	broker.Sweep(t.Context(), b, queue)
	require.Len(t, broker.ObjectFiles(b, queue), 1)
	m, err := b.Message(t.Context(), r.ID)
	require.NoError(t, err)
	require.False(t, m.InJournal)

	l, err := b.DeadLetter(t.Context(), r.ID)
	require.NoError(t, err)
	require.Equal(t, []any{len(text), true, relay.MaxExcerpt}, []any{l.Bytes, l.BodyCut, len(l.Body)})
	same(t, text[:relay.MaxExcerpt], string(l.Body))
	letters, err := b.DeadLetters(t.Context(), relay.DeadLetterFilter{})
	require.NoError(t, err)
	require.Equal(t, len(text), letters[0].Bytes)
	balanced(t, b)
	stop()
	b.Close()

	b = open(t, dir, anyDisk)
	d.answer(delivered(0, nil))
	drain(t, b, d, nil)
	again, err := b.Replay(t.Context(), r.ID, relay.Edit{})
	require.NoError(t, err)
	status(t, b, settled)
	same(t, text, d.body(again.ID))
	broker.Sweep(t.Context(), b, queue)
	require.Empty(t, broker.ObjectFiles(b, queue))
	balanced(t, b)
}

// A peek shows the beginning of a large body.
func TestAPeekShowsTheBeginningOfALargeBody(t *testing.T) {
	b := open(t, stateDir(t), anyDisk)
	text := largeText(8 << 20)
	for range 3 {
		accept(t, b, message("", "", text))
	}
	list, err := b.Peek(t.Context(), queue, relay.PeekOptions{Body: true})
	require.NoError(t, err)
	require.Len(t, list.Messages, 3)
	for _, m := range list.Messages {
		require.Equal(t, []any{len(text), true, relay.MaxExcerpt}, []any{m.Bytes, m.BodyCut, len(m.Body)})
		same(t, text[:relay.MaxExcerpt], string(m.Body))
	}
}
