package broker_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var queue = relay.Queue{Organization: relay.DefaultOrganization, Destination: relay.ForemanDestination}

// open opens a broker that is closed with the test.
func open(t *testing.T, dir string, change func(*broker.Options)) *broker.Broker {
	t.Helper()
	o := broker.Options{StateDir: dir, Queues: []relay.Queue{queue}, ReserveBytes: -1,
		Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)}
	if change != nil {
		change(&o)
	}
	b, err := broker.Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return b
}

func stateDir(t *testing.T) string { return filepath.Join(t.TempDir(), "state") }

// message is a request for a host, with a key if one is given.
func message(host, key, body string) *relay.Message {
	m := &relay.Message{Queue: queue, Route: "message", Lane: host, Key: key, Method: "POST",
		Received: time.Now(), Body: []byte(body), Digest: relay.DigestOf([]byte(body))}
	m.ID = relay.FreshID(queue)
	if key != "" {
		m.ID = relay.KeyedID(queue, key)
	}
	return m
}

func accept(t *testing.T, b *broker.Broker, m *relay.Message) relay.Receipt {
	t.Helper()
	r, err := b.Accept(t.Context(), m)
	require.NoError(t, err)
	return r
}

// destination answers each delivery as its function says and remembers it.
type destination struct {
	answer func(n int, m *relay.Message) relay.Result
	probe  func() error

	mu   sync.Mutex
	got  []*relay.Message
	more chan struct{}
}

func newDestination(answer func(n int, m *relay.Message) relay.Result) *destination {
	return &destination{answer: answer, more: make(chan struct{}, 1)}
}

func (d *destination) Deliver(_ context.Context, m *relay.Message) relay.Result {
	d.mu.Lock()
	d.got = append(d.got, m)
	n := len(d.got)
	d.mu.Unlock()
	select {
	case d.more <- struct{}{}:
	default:
	}
	return d.answer(n, m)
}

func (d *destination) Probe(context.Context) error {
	if d.probe == nil {
		return nil
	}
	return d.probe()
}

func (d *destination) bodies() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for _, m := range d.got {
		all = append(all, string(m.Body))
	}
	return all
}

func delivered(int, *relay.Message) relay.Result {
	return relay.Result{Class: relay.ClassDelivered, Status: 201}
}

// drain runs a drain in this process until stop is called or the test ends.
func drain(t *testing.T, b *broker.Broker, d relay.Destination, change func(*relay.DrainOptions)) (stop func()) {
	t.Helper()
	c, err := b.Connect(queue.Destination)
	require.NoError(t, err)
	return runDrain(t, c, d, change)
}

func runDrain(t testing.TB, c *broker.Channel, d relay.Destination, change func(*relay.DrainOptions)) (stop func()) {
	t.Helper()
	policy := relay.DefaultPolicy()
	policy.FirstDelay, policy.SlowDelay, policy.CycleDelay = 20*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond
	gate := relay.DefaultGateOptions()
	gate.ProbeInterval = 20 * time.Millisecond
	o := relay.DrainOptions{Instance: "here", Session: relay.FreshID(queue), LongestAttempt: time.Second, StopTimeout: 10 * time.Second,
		Registrar: c, Nudged: c.Nudged(), Journal: c.Journal, Destination: d, Gate: relay.NewGate(gate, d.Probe),
		Policy: func(string) relay.Policy { return policy }, Limits: relay.DefaultIndexLimits(), Now: time.Now,
		Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = relay.NewDrain(o).Run(ctx) // it has no error to return
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			<-done
			c.Close()
		})
	}
	t.Cleanup(stop)
	return stop
}

// status waits until the queue is as cond says, and returns it.
func status(t *testing.T, b *broker.Broker, cond func(relay.QueueStatus) bool) relay.QueueStatus {
	t.Helper()
	var last relay.QueueStatus
	require.Eventually(t, func() bool {
		s, err := b.Queue(t.Context(), queue)
		if err != nil {
			return false
		}
		last = s
		return cond(s)
	}, 20*time.Second, 5*time.Millisecond, "last seen: %+v", &last)
	return last
}

func settled(s relay.QueueStatus) bool { return s.Pending == 0 }

// balanced runs the audit.
func balanced(t *testing.T, b *broker.Broker) relay.AuditReport {
	t.Helper()
	reports, err := b.Audit(t.Context(), relay.AuditOptions{Queue: &queue})
	require.NoError(t, err)
	require.Len(t, reports, 1)
	require.Empty(t, reports[0].Findings)
	require.True(t, reports[0].Balanced)
	return reports[0]
}

func TestWhatIsAcceptedIsDeliveredOnceAndInOrder(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	for i := range 50 {
		accept(t, b, message("host"+fmt.Sprint(i%5), fmt.Sprint("key ", i), fmt.Sprintf("%02d", i)))
	}
	d := newDestination(delivered)
	stop := drain(t, b, d, nil)
	s := status(t, b, settled)
	require.EqualValues(t, 50, s.Delivered)
	require.Len(t, d.bodies(), 50)
	lanes := map[string]string{}
	d.mu.Lock()
	for _, m := range d.got {
		require.Greater(t, string(m.Body), lanes[m.Lane], "order in lane %s", m.Lane)
		lanes[m.Lane] = string(m.Body)
	}
	d.mu.Unlock()
	balanced(t, b)
	stop()
	b.Close()

	b = open(t, dir, nil) // nothing is delivered again by the next start
	drain(t, b, d, nil)
	accept(t, b, message("host0", "", "later"))
	status(t, b, settled)
	require.Len(t, d.bodies(), 51)
	require.EqualValues(t, 51, balanced(t, b).Totals[relay.Delivered])
}
