package handlers_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// doorEdge knows one organization, which a test may change.
func doorEdge(t *testing.T, o *relay.Organization, now func() time.Time) *bench {
	t.Helper()
	return newEdge(t, func(e *handlers.EdgeOptions) {
		e.Now = now
		e.Door = handlers.DoorOptions{Rate: relay.OrganizationRate{SenderPerSecond: 1000}, Senders: 100,
			Organization: func(name string) (relay.Organization, bool) { return *o, name == o.Name }}
	})
}

func fixed() time.Time { return noon }

func TestAnOrganizationThatIsOffIsRefused(t *testing.T) {
	o := relay.Organization{Name: queue.Organization, Why: "moved to another relay"}
	b := doorEdge(t, &o, fixed)
	w := b.do(post(reportPath, report))
	p := recorded(t, w, relay.CodeDenied)
	require.Equal(t, `organization "default" is off: moved to another relay; nothing was stored`, p.Detail)
	w = b.do(post("/relay/v1/queues/default/foreman/messages", "x"))
	require.Equal(t, http.StatusForbidden, w.Code)
	require.Empty(t, b.intake.accepted())

	o.Enabled = true
	require.Equal(t, http.StatusCreated, b.do(post(reportPath, report)).Code, "the switch counts at once")
}

func TestTheRateOfAnOrganization(t *testing.T) {
	now := noon
	o := relay.Organization{Name: queue.Organization, Enabled: true, Rate: relay.OrganizationRate{PerSecond: 0.5, Burst: 2}}
	b := doorEdge(t, &o, func() time.Time { return now })
	w := b.do(post(reportPath, report))
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
	require.Equal(t, `"sender";q=1000;w=1, "organization";q=2;w=4`, w.Header().Get("RateLimit-Policy"))
	require.Equal(t, `"sender";r=999;t=1, "organization";r=1;t=2`, w.Header().Get("RateLimit"))
	require.Equal(t, http.StatusCreated, b.do(post(reportPath, report)).Code)

	w = b.do(post(reportPath, report))
	p := recorded(t, w, relay.CodeTooManyRequests)
	require.Equal(t, `the senders of organization "default" have sent more than it may; nothing was stored, send it again later`, p.Detail)
	require.Equal(t, "3", w.Header().Get("Retry-After"), "rounded up: after it there is one")
	require.Contains(t, w.Header().Get("RateLimit"), `"organization";r=0;t=`)
	require.Len(t, b.intake.accepted(), 2)

	now = now.Add(3 * time.Second)
	require.Equal(t, http.StatusCreated, b.do(post(reportPath, report)).Code)
}

// One sender's rate is no other's, and what it is refused costs its organization
// nothing.
func TestTheRateOfASender(t *testing.T) {
	o := relay.Organization{Name: queue.Organization, Enabled: true, Rate: relay.OrganizationRate{PerSecond: 3, SenderPerSecond: 1}}
	b := doorEdge(t, &o, fixed)
	from := func(address string) int {
		r := post(reportPath, report)
		r.RemoteAddr = address + ":4711"
		return b.do(r).Code
	}
	require.Equal(t, http.StatusCreated, from("192.0.2.1"))
	for range 5 {
		require.Equal(t, http.StatusTooManyRequests, from("192.0.2.1"))
	}
	require.Equal(t, http.StatusCreated, from("192.0.2.2"))
	require.Equal(t, http.StatusCreated, from("192.0.2.3"))
	require.Equal(t, http.StatusTooManyRequests, from("192.0.2.4"), "the organization's own")
	o.Rate.PerSecond, o.Rate.Burst = 0, 0
	require.Equal(t, http.StatusCreated, from("192.0.2.4"), "what the organization was refused for cost the sender nothing")
}

func TestTheSizeOfAMessage(t *testing.T) {
	o := relay.Organization{Name: queue.Organization, Enabled: true, Quota: relay.OrganizationQuota{MessageBytes: 100}}
	b := doorEdge(t, &o, fixed)
	path := "/relay/v1/queues/default/foreman/messages"
	recorded(t, b.do(post(path, strings.Repeat("x", 101))), relay.CodeTooLarge)
	require.Equal(t, http.StatusAccepted, b.do(post(path, strings.Repeat("x", 100))).Code)
}

func TestAFullQueueIs507Or429(t *testing.T) {
	for status, want := range map[int]relay.Code{0: relay.CodeQuotaFull, 507: relay.CodeQuotaFull, 429: relay.CodeTooManyRequests} {
		b := newEdge(t, func(e *handlers.EdgeOptions) { e.Door.QuotaStatus = status })
		b.intake.answer = func(*relay.Message) (relay.Receipt, error) {
			return relay.Receipt{}, &relay.Error{Code: relay.CodeQuotaFull, Detail: "it is full", RetryAfter: time.Minute}
		}
		w := b.do(post(reportPath, report))
		require.Equal(t, "it is full", recorded(t, w, want).Detail)
		require.Equal(t, "60", w.Header().Get("Retry-After"))

		b.intake.answer = func(*relay.Message) (relay.Receipt, error) {
			return relay.Receipt{}, &relay.Error{Code: relay.CodeStorageFull, Detail: "the disk is"}
		}
		recorded(t, b.do(post(reportPath, report)), relay.CodeStorageFull)
	}
}
