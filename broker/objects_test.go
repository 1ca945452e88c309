package broker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
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
	_, err := b.Accept(t.Context(), incoming("host", "", io.MultiReader(strings.NewReader(largeText(3<<20)), &failing{broken})))
	require.Equal(t, relay.CodeMalformed, relay.CodeOf(err))

	_, err = b.Accept(t.Context(), incoming("host", "", io.MultiReader(strings.NewReader(largeText(3<<20)), &failing{errors.New("unknown")})))
	require.Equal(t, relay.CodeUnavailable, relay.CodeOf(err))
	_, err = b.Accept(t.Context(), incoming("host", "", strings.NewReader("")))
	require.Equal(t, relay.CodeMalformed, relay.CodeOf(err))
	require.Empty(t, broker.ObjectFiles(b, queue))
	after := status(t, b, func(relay.QueueStatus) bool { return true })
	require.Equal(t, []uint64{before.Accepted, before.Bytes}, []uint64{after.Accepted, after.Bytes})
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

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
	again, err := b.Replay(t.Context(), r.ID)
	require.NoError(t, err)
	status(t, b, settled)
	same(t, text, d.body(again.ID))
	broker.Sweep(t.Context(), b, queue)
	require.Empty(t, broker.ObjectFiles(b, queue))
	balanced(t, b)
}

// Journal and objects together have the quota: what does not fit is refused and
// leaves nothing, whether its size was known or not; small messages too.
func TestLargeBodiesCountInTheQuota(t *testing.T) {
	b := open(t, stateDir(t), func(o *broker.Options) { anyDisk(o); o.QuotaBytes = 12 << 20 })
	first := accept(t, b, message("a", "k", largeText(7<<20)))
	before := status(t, b, func(relay.QueueStatus) bool { return true })
	for _, m := range []*relay.Message{message("b", "", largeText(6<<20)), incoming("b", "", strings.NewReader(largeText(6<<20)))} {
		_, err := b.Accept(t.Context(), m)
		require.Equal(t, relay.CodeStorageFull, relay.CodeOf(err))
		var refused *relay.Error
		require.ErrorAs(t, err, &refused)
		require.Positive(t, refused.RetryAfter)
	}
	again := accept(t, b, incoming("a", "k", strings.NewReader(largeText(7<<20))))
	require.Equal(t, []any{first.ID, true}, []any{again.ID, again.Replayed}, "what is there already needs no room")
	require.Len(t, broker.ObjectFiles(b, queue), 1)
	require.Equal(t, before.Bytes, status(t, b, func(relay.QueueStatus) bool { return true }).Bytes)
	accept(t, b, message("c", "", largeText(4<<20)))
	require.Eventually(t, func() bool {
		_, err := b.Accept(t.Context(), message("d", "", strings.Repeat("x", 20<<10)))
		return relay.CodeOf(err) == relay.CodeStorageFull
	}, 60*time.Second, 10*time.Millisecond)
	require.Less(t, status(t, b, func(relay.QueueStatus) bool { return true }).Bytes, uint64(20<<20), "the journal alone has 12 MiB")

	drain(t, b, newCollector(), nil) // what is settled gives way
	status(t, b, settled)
	require.Eventually(t, func() bool {
		_, err := b.Accept(t.Context(), message("e", "", largeText(6<<20)))
		return err == nil
	}, 20*time.Second, 10*time.Millisecond)
}

// The reserve of the disk is kept while a body comes, and it leaves nothing.
func TestADiskThatFillsUpDuringAnUpload(t *testing.T) {
	b := open(t, stateDir(t), func(o *broker.Options) { anyDisk(o); o.ReserveBytes = 1 << 20 })
	text := largeText(3 << 20)
	slow := &gated{text: text, open: make(chan struct{}), at: make(chan struct{}, 1)}
	done := make(chan error)
	go func() {
		_, err := b.Accept(context.Background(), incoming("host", "", slow))
		done <- err
	}()
	<-slow.at
	broker.UseSpace(b, 1<<60)
	close(slow.open)
	require.Equal(t, relay.CodeStorageFull, relay.CodeOf(<-done))
	require.Less(t, slow.read, len(text), "it is not read to its end first")
	require.Empty(t, broker.ObjectFiles(b, queue))
}

// Only so many large bodies come at one time.
func TestUploadsAreBounded(t *testing.T) {
	b := open(t, stateDir(t), func(o *broker.Options) { anyDisk(o); o.MaxUploads = 1 })
	text := largeText(2 << 20)
	slow := &gated{text: text, open: make(chan struct{}), at: make(chan struct{}, 1)}
	done := make(chan error)
	go func() {
		_, err := b.Accept(context.Background(), incoming("host", "", slow))
		done <- err
	}()
	<-slow.at
	_, err := b.Accept(t.Context(), incoming("host", "", strings.NewReader(text)))
	require.Equal(t, relay.CodeTooManyRequests, relay.CodeOf(err))
	accept(t, b, message("host", "", "small ones go on"))
	close(slow.open)
	require.NoError(t, <-done)
	accept(t, b, incoming("host", "", strings.NewReader(text)))
}

// What the disk has changed or lost is never given as the body: the reader fails
// before the first wrong byte, the message becomes a dead letter, audit names it,
// and its replay is refused.
func TestADamagedBodyIsNeverGivenAsWhole(t *testing.T) {
	text := largeText(3*relay.MaxInline + 5)
	for name, damage := range map[string]func(name string, file []byte) []byte{
		"a byte":         func(_ string, f []byte) []byte { f[2<<20] ^= 1; return f },
		"a digest":       func(_ string, f []byte) []byte { f[len(f)-1] ^= 1; return f },
		"its end":        func(_ string, f []byte) []byte { return f[:len(f)-100] },
		"the last piece": func(_ string, f []byte) []byte { return f[:6*(broker.PieceSize+32)] },
		"pieces swapped": func(_ string, f []byte) []byte {
			const p = broker.PieceSize + 32
			return bytes.Join([][]byte{f[p : 2*p], f[:p], f[2*p:]}, nil)
		},
		"everything": func(string, []byte) []byte { return nil },
		"its content, piece by piece": func(name string, f []byte) []byte {
			_, upload, _ := strings.Cut(filepath.Base(name), ".")
			for at, n := 0, 1; at < len(f); n++ {
				end := min(at+broker.PieceSize, len(f)-32)
				f[at] ^= 1
				copy(f[end:], broker.PieceSum(upload, n, f[at:end]))
				at = end + 32
			}
			return f
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, stateDir(t), anyDisk)
			r := accept(t, b, message("host", "", text))
			file := broker.ObjectFiles(b, queue)[0]
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			if content = damage(file, content); content == nil {
				require.NoError(t, os.Remove(file))
			} else {
				require.NoError(t, os.WriteFile(file, content, 0o600))
			}
			if len(content) != len(text)+7*32 {
				reports, err := b.Audit(t.Context(), &queue)
				require.NoError(t, err)
				require.False(t, reports[0].Balanced)
				require.Contains(t, reports[0].Findings[0].What, "the body of the message")
				require.EqualValues(t, 1, reports[0].Findings[0].Sequence)
			}
			d := newCollector()
			drain(t, b, d, nil)
			status(t, b, settled)
			require.Empty(t, slices.Collect(maps.Keys(d.bodies)))
			require.ErrorIs(t, d.errs[0], relay.ErrDamaged)
			require.Less(t, len(d.cut[0]), len(text))
			if name != "its content, piece by piece" { // which nothing but the whole shows
				same(t, text[:len(d.cut[0])], d.cut[0]) // no wrong byte was given
			}
			l, err := b.DeadLetter(t.Context(), r.ID)
			require.NoError(t, err)
			require.Equal(t, relay.ReasonDamaged, l.Reason)
			_, err = b.Replay(t.Context(), r.ID)
			require.Equal(t, relay.CodeConflict, relay.CodeOf(err))
			reports, err := b.Audit(t.Context(), &queue)
			require.NoError(t, err)
			require.Contains(t, reports[0].Findings[0].What, "body of the dead letter")
			require.NoError(t, b.Discard(t.Context(), r.ID))
			broker.Sweep(t.Context(), b, queue)
			balanced(t, b)
		})
	}
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

// A drain is given the pieces of its own queues, and nothing that is no piece.
func TestADrainIsGivenPiecesOfItsOwnQueuesAlone(t *testing.T) {
	elsewhere := relay.Queue{Organization: "other", Destination: "elsewhere"}
	b := open(t, stateDir(t), func(o *broker.Options) { anyDisk(o); o.Queues = append(o.Queues, elsewhere) })
	r := accept(t, b, message("host", "", largeText(2<<20)))
	_, upload, _ := strings.Cut(filepath.Base(broker.ObjectFiles(b, queue)[0]), ".")
	ask := func(destination, id, object string, number int) *nats.Msg {
		c, err := b.Connect(destination)
		require.NoError(t, err)
		defer c.Close()
		request, err := json.Marshal(map[string]any{"id": id, "object": object, "piece": number})
		require.NoError(t, err)
		msg, err := broker.Conn(c).Request("relay-drain."+destination+".piece", request, 5*time.Second)
		require.NoError(t, err)
		return msg
	}
	object := relay.ObjectName(upload, 4)
	require.Len(t, ask("foreman", r.ID, object, 4).Data, broker.PieceSize)
	for name, msg := range map[string]*nats.Msg{
		"of another destination": ask("elsewhere", r.ID, object, 1), "beyond the last": ask("foreman", r.ID, object, 5),
		"before the first": ask("foreman", r.ID, object, 0), "of nothing": ask("foreman", relay.FreshID(queue), object, 1),
		"of no object": ask("foreman", r.ID, "../"+object, 1), "of no id": ask("foreman", "../../marker", object, 1),
	} {
		require.Equal(t, []any{"missing", 0}, []any{msg.Header.Get("Relay-Piece-Error"), len(msg.Data)}, name)
	}
}
