package cmd

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

func TestTheStoryOfAnOrganization(t *testing.T) {
	p := startServe(t)
	out, _, code := p.ask("org", "ls", "-q")
	require.Zero(t, code)
	require.Equal(t, "default\n", out)

	_, errs, code := p.ask("org", "enable", "ACME/Branch Office")
	require.Equal(t, exitNotFound, code, errs)
	out, errs, code = p.ask("org", "enable", "ACME/Branch Office", "--create")
	require.Zero(t, code, errs)
	require.Equal(t, "foreman-relay: organization ACME/Branch Office is on\n", errs)
	require.Regexp(t, `(?m)^state +on$`, out)
	const path = "/relay/v1/queues/ACME%2FBranch%20Office/foreman/messages"
	status, _ := p.post(path, "x")
	require.Equal(t, http.StatusAccepted, status, "its queue is there at once")

	_, errs, code = p.ask("org", "disable", "ACME/Branch Office", "--why", "moved")
	require.Zero(t, code, errs)
	status, _ = p.post(path, "x")
	require.Equal(t, http.StatusForbidden, status)
	status, _ = p.post("/relay/v1/queues/default/foreman/messages", "x")
	require.Equal(t, http.StatusAccepted, status, "no other is")
	out, _, _ = p.ask("org", "ls")
	require.Regexp(t, `(?m)^ORGANIZATION +STATE +BY +QUOTA +RATE +WEIGHT\nACME/Branch Office +off +operator +- +- +-\ndefault +on +configuration +`, out)

	out, errs, code = p.ask("org", "quota", "ACME/Branch Office", "--bytes", "2MiB", "--rate", "0.001", "--burst", "2", "--message-bytes", "10", "--weight", "3")
	require.Zero(t, code, errs)
	require.Regexp(t, `(?m)^because +moved$`, out, "nothing else is changed")
	var o relay.Organization
	p.read(&o, "org", "show", "ACME/Branch Office")
	require.Equal(t, relay.OrganizationQuota{Bytes: 2 << 20, MessageBytes: 10}, o.Quota)
	require.Equal(t, relay.OrganizationRate{PerSecond: 0.001, Burst: 2}, o.Rate)
	require.Equal(t, 3, o.Weight)
	require.Equal(t, "moved", o.Why)
	_, _, code = p.ask("org", "enable", "ACME/Branch Office")
	require.Zero(t, code)
	status, _ = p.post(path, "elevenbytes")
	require.Equal(t, http.StatusRequestEntityTooLarge, status)
	status, _ = p.post(path, "x")
	require.Equal(t, http.StatusAccepted, status)
	status, _ = p.post(path, "y")
	require.Equal(t, http.StatusTooManyRequests, status)

	for _, wrong := range [][]string{{"quota", "default"}, {"quota", "default", "--weight", "-1"}, {"show"}, {"quota", "default", "--bytes", "many"}} {
		_, errs, code = p.ask(append([]string{"org"}, wrong...)...)
		require.Equal(t, exitUsage, code, "%v: %s", wrong, errs)
	}
}
