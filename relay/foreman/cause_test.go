package foreman_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/foreman"
)

// complaints are answers of Foreman as its code and its clients show them, each
// with something that differs from one message to the next.
var complaints = []struct {
	route, body string
	status      int
}{
	{"report", `{"message":"ERF42-{n} [Foreman::Exception]: Invalid report for {host}"}`, 422},
	{"facts", `{"message":"Invalid Hostname, must be a String ({host})"}`, 422},
	{"facts", `{"error":{"id":{n},"errors":{"operatingsystem_id":["can't be blank"]},"full_messages":["Operatingsystem of host {host} can't be blank"]}}`, 422},
	{"report", `{"status":400,"error":"There was a problem in the JSON you submitted: unexpected token at '{word}'"}`, 400},
	{"report", `{"error":{"message":"undefined method ` + "`{word}'" + ` for nil:NilClass, request {uuid} at {time}"}}`, 404},
	{"message", `<html><body>Request {uuid} from 10.0.0.{byte} was refused</body></html>`, 415},
	{"report", `{"error":{"message":"Internal Server Error: the server was unable to finish the request {uuid}","class":"NoMethodError"}}`, 500},
}

// dies is the letter that Foreman's answer to the n-th message makes.
func dies(t *testing.T, n int) relay.DeadLetter {
	t.Helper()
	c := complaints[n%len(complaints)]
	q := relay.Queue{Organization: relay.DefaultOrganization, Destination: relay.ForemanDestination}
	id, host, now := relay.FreshID(q), fmt.Sprintf("web%d.example.com", n), time.Unix(int64(1_790_000_000+n), 0).UTC()
	body := strings.NewReplacer("{n}", fmt.Sprint(n), "{host}", host, "{word}", fmt.Sprintf("x%xz", n), "{uuid}", relay.UUID(id),
		"{time}", now.Format("2006-01-02 15:04:05 UTC"), "{byte}", fmt.Sprint(n%255)).Replace(c.body)
	header := http.Header{"Foreman_version": {"3.13"}, "Content-Type": {"application/json"}}
	r := foreman.Classify(c.route, relay.Answer{Status: c.status, Header: header, Body: []byte(body)}, now)
	o := relay.Decide(relay.DefaultPolicy(), relay.Attempt{Failures: 10_000, Accepted: now}, r, now, 0)
	require.Equal(t, relay.Dead, o.State)
	return relay.DeadLetter{ID: id, Route: c.route, Lane: host, Reason: o.Reason, Status: r.Status, Detail: r.Detail, DiedAt: now}
}

// Ten thousand letters read as a handful of causes.
func TestTenThousandLettersAreAHandfulOfCauses(t *testing.T) {
	const letters = 10_000
	var causes relay.Causes
	for n := range letters {
		causes.Add(dies(t, n))
	}
	report := causes.Report(0)
	require.EqualValues(t, letters, report.Letters)
	require.Zero(t, report.Other)
	require.Len(t, report.Causes, len(complaints), "%+v", report.Causes)
	for _, c := range report.Causes {
		require.InDelta(t, letters/len(complaints), c.Count, 1)
		require.NotEmpty(t, c.Text)
		require.True(t, c.First.Before(c.Last))
	}
}
