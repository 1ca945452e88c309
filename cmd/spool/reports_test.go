package spool

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

const (
	first  = "rmkq1azzz-ansible_facts" // the nanoseconds are shorter, so that its name sorts last of its second
	second = "rmkq1a1000-report"
	third  = "rmkq1b1-report"
)

func TestReportsByTime(t *testing.T) {
	m := makeSpool(t, "todo/"+third, "todo/"+second, "todo/"+first)
	names, staying := told(Reports(ReportsOptions{})(m.Dir))
	require.Equal(t, []string{"todo/" + first, "todo/" + second, "todo/" + third}, names)
	require.Empty(t, staying)
}

func TestReportsMessages(t *testing.T) {
	m := makeSpool(t)
	m.write("todo/"+first, `{"name":"a"}`)
	m.write("todo/"+second, `{"host_report":{}}`)
	all := m.messages(Reports(ReportsOptions{})(m.Dir))
	require.Equal(t, map[string]relay.Submission{
		"todo/" + first: {Route: "facts", Path: "/api/v2/hosts/facts", Key: "smart-proxy-reports:" + first + ":" + relay.DigestOf([]byte(`{"name":"a"}`)),
			ContentType: "application/json", Body: []byte(`{"name":"a"}`)},
		// No key: the relay derives one of every host report, from its content.
		"todo/" + second: {Route: "hostreport", Path: "/api/v2/host_reports", ContentType: "application/json", Body: []byte(`{"host_report":{}}`)},
	}, all)
}

func TestReportsOfOtherStates(t *testing.T) {
	m := makeSpool(t, "todo/"+third, "fail/"+second, "done/"+first, "done/"+second, "temp/"+first)
	for _, c := range []struct {
		o       ReportsOptions
		names   []string
		staying []string
	}{
		{ReportsOptions{}, []string{"todo/" + third}, []string{"fail", "done", "temp/" + first}},
		{ReportsOptions{Fail: true}, []string{"fail/" + second, "todo/" + third}, []string{"done", "temp/" + first}},
		{ReportsOptions{Done: true}, []string{"done/" + first, "done/" + second, "todo/" + third}, []string{"fail", "temp/" + first}},
		{ReportsOptions{Fail: true, Done: true}, []string{"done/" + first, "done/" + second, "fail/" + second, "todo/" + third}, []string{"temp/" + first}},
	} {
		names, staying := told(Reports(c.o)(m.Dir))
		require.Equal(t, c.names, names)
		require.Len(t, staying, len(c.staying))
		for _, name := range c.staying {
			require.Contains(t, staying, name)
		}
	}
	_, staying := told(Reports(ReportsOptions{})(m.Dir))
	require.Equal(t, "2 files, which are taken with --include-done only", staying["done"].Stays)
	require.Contains(t, staying["temp/"+first].Stays, "never finished")
}

func TestReportsLeaveWhatIsNotTheirs(t *testing.T) {
	m := makeSpool(t, "todo/x", "todo/rmkq1a1-puppet_facts", "todo/RMKQ1A1-report", "todo/rmkq1a-report", "other/a", "todo/.rmkq1a1-report", "imported/todo/"+first)
	names, staying := told(Reports(ReportsOptions{})(m.Dir))
	require.Empty(t, names)
	for _, name := range []string{"todo/x", "todo/rmkq1a1-puppet_facts", "todo/RMKQ1A1-report", "todo/rmkq1a-report", "other", "todo/.rmkq1a1-report"} {
		require.Contains(t, staying[name].Stays, ErrForeign.Error(), name)
		delete(staying, name)
	}
	require.Empty(t, staying)
}

func TestReportsDamage(t *testing.T) {
	m := makeSpool(t, "todo/"+second)
	for e := range Reports(ReportsOptions{})(m.Dir) {
		for body, says := range map[string]string{"": "it is empty", `{"host_report":{"a"`: "not JSON"} {
			_, err := e.Message([]byte(body))
			require.ErrorContains(t, err, says)
		}
	}
}
