package broker_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// Fifty thousand hosts whose messages have to wait, most of them since an earlier
// drain, in an index of a thousand: another host's message is delivered at once,
// by a drain that starts anew too, and none is tried before its time.
func TestBlockedLanesDoNotStopTheOthers(t *testing.T) {
	const before, blocked = 48_000, 50_000
	b := open(t, stateDir(t), func(o *broker.Options) { o.Durability = broker.ModeOS })
	var stock []*relay.Message
	for i := range before {
		stock = append(stock, message(fmt.Sprint("blocked", i), "", "x"))
	}
	require.NoError(t, broker.StockWaiting(t.Context(), b, stock, time.Now().Add(time.Hour)))
	var senders sync.WaitGroup
	for part := range 20 {
		senders.Go(func() {
			for i := before + part; i < blocked; i += 20 {
				if _, err := b.Accept(t.Context(), message(fmt.Sprint("blocked", i), "", "x")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	senders.Wait()
	d := newDestination(func(_ int, m *relay.Message) relay.Result {
		if strings.HasPrefix(m.Lane, "blocked") {
			return relay.Result{Class: relay.ClassNotReady, Status: 422}
		}
		return relay.Result{Class: relay.ClassDelivered, Status: 201}
	})
	small := func(o *relay.DrainOptions) {
		p := relay.DefaultPolicy()
		p.SlowDelay, p.MaxDelay = 2*time.Hour, 2*time.Hour
		o.Policy = func(string) relay.Policy { return p }
		o.Limits = relay.IndexLimits{Entries: 1024, Lane: 64, Parked: 2 * blocked}
		o.Budget = relay.NewBudget(relay.DefaultBudgetOptions())
	}
	stop := drain(t, b, d, small)
	patiently(t, b, func(s relay.QueueStatus) bool { return s.Waiting == blocked })
	accept(t, b, message("another", "", "1"))
	patiently(t, b, func(s relay.QueueStatus) bool { return s.Delivered == 1 })
	stop()

	drain(t, b, d, small)
	accept(t, b, message("another", "", "2"))
	patiently(t, b, func(s relay.QueueStatus) bool { return s.Delivered == 2 && s.Waiting == blocked })
	require.Len(t, d.bodies(), blocked-before+2, "none of them is tried again before its time")
	balanced(t, b)
}

// patiently is status for what takes a machine under load its time.
func patiently(t *testing.T, b *broker.Broker, cond func(relay.QueueStatus) bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		s, err := b.Queue(t.Context(), queue)
		return err == nil && cond(s)
	}, 2*time.Minute, 50*time.Millisecond)
}
