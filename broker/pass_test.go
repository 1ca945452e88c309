package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/test/harness"
)

// answering is a destination that is asked (relay.Passer).
type answering struct {
	mu     sync.Mutex
	asked  []relay.PassRequest
	answer func(ctx context.Context, p relay.Pass, r relay.PassRequest) (*relay.PassAnswer, error)
}

func (a *answering) Pass(ctx context.Context, p relay.Pass, r relay.PassRequest) (*relay.PassAnswer, error) {
	a.mu.Lock()
	a.asked = append(a.asked, r)
	a.mu.Unlock()
	return a.answer(ctx, p, r)
}

func (a *answering) requests() []relay.PassRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

// saying is a destination that says one thing to all.
func saying(status int, body []byte) *answering {
	return &answering{answer: func(context.Context, relay.Pass, relay.PassRequest) (*relay.PassAnswer, error) {
		return &relay.PassAnswer{Status: status, Header: http.Header{"Content-Type": {"text/plain"}}, Length: int64(len(body)),
			Body: io.NopCloser(bytes.NewReader(body))}, nil
	}}
}

var (
	nodePass = relay.Pass{Name: "node", Methods: []string{"GET"}, Paths: []string{"/node/:name"}, Except: []string{"not"},
		Timeout: 10 * time.Second, MaxBody: 100, MaxAnswer: 8 << 20, Whole: true}
	scapPass = relay.Pass{Name: "scap", Methods: []string{"GET"}, Paths: []string{"/policies/:id"}, Target: "/api/policies/:id",
		Timeout: 10 * time.Second, MaxBody: 100, MaxAnswer: 8 << 20}
	nodeAsk = relay.PassRequest{Method: "GET", Path: "/node/web1?format=yml", Header: http.Header{"Accept": {"*/*"}}, Body: []byte("x"), Client: "192.0.2.7"}
	scapAsk = relay.PassRequest{Method: "GET", Path: "/api/policies/7", Header: http.Header{}, Client: "fe80::1%eth0"}
)

// serving has a far drain answer with a destination.
func serving(t *testing.T, b *broker.Broker, certs string, a *answering, change ...func(*broker.PassService)) (c *broker.Channel, stop func()) {
	t.Helper()
	c = dial(t, b, certs, "drain")
	require.Eventually(t, broker.Conn(c).IsConnected, 5*time.Second, 5*time.Millisecond)
	o := broker.PassService{Passes: []relay.Pass{nodePass, scapPass}, Passer: a, Closed: func() string { return "" }}
	for _, f := range change {
		f(&o)
	}
	stop, err := c.ServePasses(o)
	require.NoError(t, err)
	require.NoError(t, broker.Conn(c).Flush())
	stop = sync.OnceFunc(stop)
	t.Cleanup(stop)
	return c, stop
}

// Answers of every size come as they were given, whole and streamed, and the
// destination is asked as the edge was.
func TestPassOverTheChannel(t *testing.T) {
	b, certs := listening(t)
	body := bytes.Repeat([]byte("0123456789abcdef"), 3*broker.FrameSize/16)
	var size int
	a := &answering{}
	a.answer = func(ctx context.Context, p relay.Pass, r relay.PassRequest) (*relay.PassAnswer, error) {
		return saying(200+size%2, body[:size]).answer(ctx, p, r)
	}
	serving(t, b, certs, a)
	edge := b.Passer(queue.Destination, 4)
	for _, size = range []int{0, 1, broker.FrameSize - 1, broker.FrameSize, broker.FrameSize + 1, 2 * broker.FrameSize, len(body)} {
		for _, c := range []struct {
			pass relay.Pass
			ask  relay.PassRequest
		}{{nodePass, nodeAsk}, {scapPass, scapAsk}} {
			answer, err := edge.Pass(t.Context(), c.pass, c.ask)
			require.NoError(t, err)
			got, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.True(t, bytes.Equal(body[:size], got), "%s of %d bytes", c.pass.Name, size)
			require.Equal(t, []any{200 + size%2, int64(size), "text/plain"}, []any{answer.Status, answer.Length, answer.Header.Get("Content-Type")})
			asked := a.requests()
			last := asked[len(asked)-1]
			require.Equal(t, append([]byte{}, c.ask.Body...), append([]byte{}, last.Body...))
			require.Equal(t, []string{c.ask.Method, c.ask.Path, c.ask.Client, c.ask.Header.Get("Accept")}, []string{last.Method, last.Path, last.Client, last.Header.Get("Accept")})
		}
	}
}

// A drain says to a caller of the edge no more than its destination could: nothing
// that a proxy in between would take for the length of the answer, and no cookie.
func TestHeadersThatADrainMayNotPassOn(t *testing.T) {
	b, certs := listening(t)
	a := &answering{answer: func(context.Context, relay.Pass, relay.PassRequest) (*relay.PassAnswer, error) {
		return &relay.PassAnswer{Status: 200, Length: 2, Body: io.NopCloser(strings.NewReader("ok")), Header: http.Header{"Content-Type": {"text/plain"}, "Etag": {`"1"`},
			"content-length": {"1"}, "Content-Length": {"1"}, "Transfer-Encoding": {"identity"}, "Connection": {"close"}, "Set-Cookie": {"x=1"}, "Location": {"/"}}}, nil
	}}
	serving(t, b, certs, a)
	answer, err := b.Passer(queue.Destination, 2).Pass(t.Context(), scapPass, scapAsk)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.Header{"Content-Type": {"text/plain"}, "Etag": {`"1"`}}, answer.Header)
}

// An answer under way goes on when an organization is made, and with it new queues.
func TestAPassOutlivesNewQueues(t *testing.T) {
	b, certs := listening(t)
	body := bytes.Repeat([]byte("x"), 4*broker.FrameSize)
	serving(t, b, certs, saying(200, body))
	answer, err := b.Passer(queue.Destination, 2).Pass(t.Context(), scapPass, scapAsk)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return broker.Arrived(answer) == 1 }, 5*time.Second, time.Millisecond)
	putOrganization(t, b, relay.Organization{Name: "ACME", Enabled: true}, 0)
	got, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.True(t, bytes.Equal(body, got))
	require.NoError(t, answer.Body.Close())
}

// Nobody waits for a drain that is not there, and what one says of itself is what
// the caller is told.
func TestPassesThatGetNoAnswer(t *testing.T) {
	b, certs := listening(t)
	edge := b.Passer(queue.Destination, 1)
	_, err := edge.Pass(t.Context(), nodePass, nodeAsk)
	require.Equal(t, relay.CodeAway, relay.CodeOf(err))
	require.ErrorContains(t, err, "no drain is connected")

	a := saying(200, []byte("yes"))
	closed := atomic.Pointer[string]{}
	closed.Store(new(string))
	c, stop := serving(t, b, certs, a, func(o *broker.PassService) { o.Closed = func() string { return *closed.Load() } })
	_, err = edge.Pass(t.Context(), nodePass, nodeAsk)
	require.NoError(t, err)

	why := "Foreman is not asked"
	closed.Store(&why)
	_, err = edge.Pass(t.Context(), nodePass, nodeAsk)
	require.ErrorContains(t, err, why)
	closed.Store(new(string))

	a.answer = func(context.Context, relay.Pass, relay.PassRequest) (*relay.PassAnswer, error) {
		return nil, &relay.Error{Code: relay.CodeAway, RetryAfter: 3 * time.Second, Err: fmt.Errorf("%w: secret", relay.ErrBusy), Detail: "no place"}
	}
	_, err = edge.Pass(t.Context(), nodePass, nodeAsk)
	require.ErrorIs(t, err, relay.ErrBusy)
	var told *relay.Error
	require.ErrorAs(t, err, &told)
	require.Equal(t, []any{relay.CodeAway, 3 * time.Second, "no place"}, []any{told.Code, told.RetryAfter, told.Detail})
	require.NotContains(t, err.Error(), "secret", "the cause stays on the drain's side")

	stop()
	require.NoError(t, broker.Conn(c).Flush())
	_, err = edge.Pass(t.Context(), nodePass, nodeAsk)
	require.ErrorContains(t, err, "no drain is connected")
}

// A drain that has the request and says nothing holds nobody for long, and nobody
// else for a while.
func TestADrainThatSaysNothing(t *testing.T) {
	b, certs := listening(t)
	c := dial(t, b, certs, "drain")
	require.Eventually(t, broker.Conn(c).IsConnected, 5*time.Second, 5*time.Millisecond)
	got := make(chan *nats.Msg, 4)
	_, err := broker.Conn(c).Subscribe(broker.PassSubject(queue.Destination), func(m *nats.Msg) { got <- m })
	require.NoError(t, err)
	require.NoError(t, broker.Conn(c).Flush())
	edge := b.Passer(queue.Destination, 1)
	_, err = edge.Pass(t.Context(), nodePass, nodeAsk)
	require.ErrorContains(t, err, "the drain does not answer")
	require.Len(t, got, 1)
	_, err = edge.Pass(t.Context(), nodePass, nodeAsk)
	require.ErrorContains(t, err, "did not answer a moment ago")
	require.Len(t, got, 1, "it was not asked")
}

// Whatever an edge asks for that somebody has taken over, the drain passes on what
// is on its own list, and nothing else.
func TestADrainHoldsToItsOwnList(t *testing.T) {
	b, certs := listening(t)
	a := saying(200, []byte("yes"))
	serving(t, b, certs, a)
	const good = `{"name":"node","method":"GET","path":"/node/web1","client":"192.0.2.7","within":5000000000}`
	for name, c := range map[string]struct{ call, body string }{
		"another pass":           {strings.Replace(good, `"node"`, `"hosts"`, 1), ""},
		"another method":         {strings.Replace(good, `GET`, `DELETE`, 1), ""},
		"another path":           {strings.Replace(good, `/node/web1`, `/api/hosts`, 1), ""},
		"one below it":           {strings.Replace(good, `/node/web1`, `/node/web1/x`, 1), ""},
		"no name":                {strings.Replace(good, `/node/web1`, `/node/`, 1), ""},
		"dots":                   {strings.Replace(good, `/node/web1`, `/node/..`, 1), ""},
		"dots encoded":           {strings.Replace(good, `/node/web1`, `/node/%2e%2e`, 1), ""},
		"another host":           {strings.Replace(good, `/node/web1`, `//node/web1`, 1), ""},
		"an exception":           {strings.Replace(good, `/node/web1`, `/node/no%74`, 1), ""},
		"credentials":            {strings.Replace(good, `"client"`, `"header":{"Authorization":["Bearer x"]},"client"`, 1), ""},
		"a cookie":               {strings.Replace(good, `"client"`, `"header":{"Cookie":["x"]},"client"`, 1), ""},
		"a large body":           {good, strings.Repeat("x", 101)},
		"no client":              {strings.Replace(good, `192.0.2.7`, ``, 1), ""},
		"a client with a header": {strings.Replace(good, `192.0.2.7`, `1\r\nX: y`, 1), ""},
		"the pattern of another": {strings.Replace(strings.Replace(good, `"node"`, `"scap"`, 1), "/node/web1", "/policies/7", 1), ""},
		"a query where none is":  {strings.Replace(strings.Replace(good, `"node"`, `"scap"`, 1), "/node/web1", "/api/policies/7?x=1", 1), ""},
		"no request":             {"{", ""},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, "failed", lastFrame(t, b, c.call, c.body))
			require.Empty(t, a.requests())
		})
	}
	require.Equal(t, "end", lastFrame(t, b, good, ""), "the request that the others differ from")
	require.Len(t, a.requests(), 1)
}

// lastFrame asks as an edge that checks nothing does, and returns the kind of the
// frame after the first.
func lastFrame(t *testing.T, b *broker.Broker, call, body string) string {
	t.Helper()
	door := broker.DoorConn(b)
	reply := "relay-pass." + queue.Destination + ".reply.x"
	sub, err := door.SubscribeSync(reply)
	require.NoError(t, err)
	defer func() { require.NoError(t, sub.Unsubscribe()) }()
	require.NoError(t, door.PublishMsg(&nats.Msg{Subject: broker.PassSubject(queue.Destination), Reply: reply,
		Header: nats.Header{broker.PassCallHeader: {call}}, Data: []byte(body)}))
	first, err := sub.NextMsg(5 * time.Second)
	require.NoError(t, err)
	require.Equal(t, "begun", first.Header.Get("Relay-Pass-Frame"))
	last, err := sub.NextMsg(5 * time.Second)
	require.NoError(t, err)
	return last.Header.Get("Relay-Pass-Frame")
}

// Each bound holds on the edge's side too, whatever the drain sends.
func TestBoundsOfPassesOverTheChannel(t *testing.T) {
	b, certs := listening(t)
	a := saying(200, make([]byte, 2*broker.FrameSize))
	a.answer = unsized(a.answer)
	_, stop := serving(t, b, certs, a)
	edge := b.Passer(queue.Destination, 2)

	small := nodePass
	small.MaxAnswer = broker.FrameSize
	_, err := edge.Pass(t.Context(), small, nodeAsk)
	require.ErrorContains(t, err, "larger than what is passed on")
	require.Equal(t, relay.CodeAway, relay.CodeOf(err))
	stream := scapPass
	stream.MaxAnswer = broker.FrameSize
	answer, err := edge.Pass(t.Context(), stream, scapAsk)
	require.NoError(t, err)
	_, err = io.ReadAll(answer.Body)
	require.ErrorContains(t, err, "larger than what is passed on")
	require.NoError(t, answer.Body.Close())

	asked := len(a.requests())
	long := nodeAsk
	long.Body = make([]byte, 101)
	_, err = edge.Pass(t.Context(), nodePass, long)
	require.ErrorContains(t, err, "101 bytes; 100 may be")
	require.Len(t, a.requests(), asked, "it was not asked")

	one, err := edge.Pass(t.Context(), scapPass, scapAsk) // a stream takes one of two places until it is read
	require.NoError(t, err)
	_, err = edge.Pass(t.Context(), scapPass, scapAsk)
	require.ErrorIs(t, err, relay.ErrBusy)
	require.NoError(t, one.Body.Close())
	stop()
}

// unsized gives the answers of another without saying how long they are.
func unsized(f func(context.Context, relay.Pass, relay.PassRequest) (*relay.PassAnswer, error)) func(context.Context, relay.Pass, relay.PassRequest) (*relay.PassAnswer, error) {
	return func(ctx context.Context, p relay.Pass, r relay.PassRequest) (*relay.PassAnswer, error) {
		a, err := f(ctx, p, r)
		a.Length = -1
		return a, err
	}
}

// closing tells when it is closed.
type closing struct {
	io.Reader
	closed chan struct{}
	once   sync.Once
}

func (c *closing) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// A caller that goes away, an answer that breaks off and a cable that is cut: each
// ends the exchange on both sides, and no answer ends as if it were whole.
func TestPassesThatBreakOff(t *testing.T) {
	b, certs := listening(t)
	link := harness.NewLink(t, b.Address())
	body := &closing{Reader: endless{}, closed: make(chan struct{})}
	a := &answering{answer: func(context.Context, relay.Pass, relay.PassRequest) (*relay.PassAnswer, error) {
		return &relay.PassAnswer{Status: 200, Header: http.Header{}, Length: -1, Body: body}, nil
	}}
	c := dialAt(t, link.Address(), certs, "drain")
	require.Eventually(t, broker.Conn(c).IsConnected, 5*time.Second, 5*time.Millisecond)
	stop, err := c.ServePasses(broker.PassService{Passes: []relay.Pass{scapPass}, Passer: a, Closed: func() string { return "" }})
	require.NoError(t, err)
	t.Cleanup(stop)
	require.NoError(t, broker.Conn(c).Flush())
	edge := b.Passer(queue.Destination, 4)

	answer, err := edge.Pass(t.Context(), scapPass, scapAsk)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	<-body.closed // the drain has given up

	torn := &closing{Reader: io.MultiReader(bytes.NewReader(make([]byte, broker.FrameSize+1)), &broken{}), closed: make(chan struct{})}
	body = torn
	answer, err = edge.Pass(t.Context(), scapPass, scapAsk)
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, answer.Body)
	require.ErrorContains(t, err, "broke off")
	require.EqualValues(t, broker.FrameSize, n)
	require.NoError(t, answer.Body.Close())
	<-torn.closed

	body = &closing{Reader: endless{}, closed: make(chan struct{})}
	short := scapPass
	short.Timeout = 2 * time.Second // so long a caller waits whose drain was cut off
	answer, err = edge.Pass(t.Context(), short, scapAsk)
	require.NoError(t, err)
	link.Cut()
	_, err = io.ReadAll(answer.Body)
	require.Error(t, err)
	require.NoError(t, answer.Body.Close())
	<-body.closed
}

// endless is more of an answer than anybody wants.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

type broken struct{}

func (*broken) Read([]byte) (int, error) { return 0, errors.New("the connection to Foreman was lost") }
