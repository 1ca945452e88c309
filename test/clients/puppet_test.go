package clients

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	standin "github.com/theforeman/foreman-relay/test/foreman"
)

// puppet is `puppet apply` with Puppet's own "http" report processor, which
// sends the report as YAML to where a smart proxy would take it.
var puppet = client{
	needs:    []file{{"/usr/bin/puppet", "puppet"}},
	tls:      true,
	prepare:  preparePuppet,
	run:      runPuppet,
	lost:     lost{away: "Report processor failed: Request to", refused: "Unable to submit report to"},
	delivers: []delivery{{"/api/v2/host_reports", checkPuppetReport, false}},
}

// Puppet's defaults for root are all over the system: every directory is named.
const puppetConfig = `[main]
certname = HOST
confdir = DIR/puppet
ssldir = DIR/puppet/ssl
vardir = DIR/var
publicdir = DIR/public
codedir = DIR/code
logdir = DIR/log
rundir = DIR/run
certificate_revocation = false
reports = http
color = false
`

// preparePuppet also makes a directory of certificates as Puppet has it, which
// is where the processor looks.
func preparePuppet(box *sandbox) {
	box.write("puppet/puppet.conf", strings.NewReplacer("HOST", host, "DIR", box.dir).Replace(puppetConfig))
	require.NoError(box.t, os.Mkdir(box.path("public"), 0o700))
	if box.pki == "" {
		return
	}
	for to, from := range map[string]string{"certs/ca": "ca.crt", "certs/" + host: "host.crt", "private_keys/" + host: "host.key"} {
		pem, err := os.ReadFile(box.cert(from))
		require.NoError(box.t, err)
		box.write("puppet/ssl/"+to+".pem", string(pem))
	}
}

func runPuppet(box *sandbox, url, mark string) (printed string, code int) {
	box.t.Helper()
	manifest := box.write("manifest.pp", `file { '`+box.path("managed")+`': content => '`+mark+`' } -> notify { 'notice of `+mark+`': }`)
	return box.run(nil, "/usr/bin/puppet", "apply", "--confdir", box.path("puppet"), "--reporturl", url+"/reports/puppet", manifest)
}

func checkPuppetReport(t *testing.T, r standin.Request) {
	report := readHostReport(t, r)
	require.Equal(t, "puppet", report.Format)
	require.Contains(t, report.Keywords, "PuppetStatusChanged")
	require.Equal(t, []int{2, 0}, []int{report.Change, report.Failure})
	require.Contains(t, report.Body, `"puppet_version":"7.`)
}

// hostReport is what Foreman's plugin for host reports takes.
type hostReport struct {
	Host, Format    string
	Body            string // JSON
	Keywords        []string
	Change, Failure int
}

func readHostReport(t *testing.T, r standin.Request) hostReport {
	t.Helper()
	var body struct {
		Report hostReport `json:"host_report"`
	}
	require.NoError(t, json.Unmarshal(r.Body, &body))
	require.Equal(t, host, body.Report.Host)
	return body.Report
}
