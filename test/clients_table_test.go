package test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	standin "github.com/theforeman/foreman-relay/test/foreman"
	"github.com/theforeman/foreman-relay/test/harness"
)

// clientRow is a client of the contract's section 0: what it sends, when it
// takes that for a success, and what of it comes to Foreman.
type clientRow struct {
	client  string
	request func(t *testing.T) *http.Request // path and headers; the body as content
	success func(status int, body string) bool
	// delivered checks the one request that Foreman gets.
	delivered func(t *testing.T, sent []byte, got standin.Request)
}

// The clients' own rules of success.
func any2xx(status int, _ string) bool     { return status >= 200 && status <= 299 }
func below400(status int, _ string) bool   { return status < 400 } // requests' raise_for_status
func exactly200(status int, _ string) bool { return status == http.StatusOK }

// templatesProxy: the smart proxy's template module relays nothing else.
func templatesProxy(status int, _ string) bool {
	return status == http.StatusOK || status == http.StatusCreated
}

// scapBash is what foreman_scap_client_bash looks for; it never looks at the
// status.
func scapBash(_ int, body string) bool { return regexp.MustCompile(`"id":\s*"\d+"`).MatchString(body) }

// scapRuby: 2xx and an id in JSON, else "Report not uploaded".
func scapRuby(status int, body string) bool {
	var doc struct {
		ID string `json:"id"`
	}
	return any2xx(status, "") && json.Unmarshal([]byte(body), &doc) == nil && doc.ID != ""
}

// openscapProxy wants 2xx and an id of digits alone.
func openscapProxy(status int, body string) bool {
	var doc struct {
		ID string `json:"id"`
	}
	return any2xx(status, "") && json.Unmarshal([]byte(body), &doc) == nil && regexp.MustCompile(`\A\d+\z`).MatchString(doc.ID)
}

// salt: 200 exactly; the runner prints the task.
func saltCron(status int, body string) bool {
	return exactly200(status, body) && regexp.MustCompile(`^{"task_id":"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"}\n$`).MatchString(body)
}

// reportsProxy: smart_proxy_reports looks at the first digit alone.
func reportsProxy(status int, _ string) bool { return status/100 == 2 }

func sends(method, path, contentType, body string, headers ...string) func(*testing.T) *http.Request {
	return func(t *testing.T) *http.Request {
		t.Helper()
		if name, isFile := strings.CutPrefix(body, "@"); isFile {
			text, err := os.ReadFile(filepath.Join("testdata", name))
			require.NoError(t, err)
			body = string(text)
		}
		r, err := http.NewRequest(method, path, strings.NewReader(body))
		require.NoError(t, err)
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		for i := 0; i < len(headers); i += 2 {
			r.Header.Add(headers[i], headers[i+1])
		}
		return r
	}
}

// asItCame: the same path and body.
func asItCame(path string) func(*testing.T, []byte, standin.Request) {
	return func(t *testing.T, sent []byte, got standin.Request) {
		t.Helper()
		require.Equal(t, path, got.Path)
		require.Equal(t, string(sent), string(got.Body))
	}
}

// asHostReport: what smart_proxy_reports would have made of it.
func asHostReport(format, host string, change, noChange, failure int) func(*testing.T, []byte, standin.Request) {
	return func(t *testing.T, _ []byte, got standin.Request) {
		t.Helper()
		var doc struct {
			Report struct {
				Format, Host, Body        string
				Change, NoChange, Failure int
			} `json:"host_report"`
		}
		require.NoError(t, json.Unmarshal(got.Body, &doc))
		require.Equal(t, "/api/v2/host_reports", got.Path)
		require.Equal(t, "application/json", got.Header.Get("Content-Type"))
		require.True(t, json.Valid([]byte(doc.Report.Body)), "JSON in a string")
		doc.Report.Body = ""
		require.Equal(t, []any{format, host, change, noChange, failure},
			[]any{doc.Report.Format, doc.Report.Host, doc.Report.Change, doc.Report.NoChange, doc.Report.Failure})
	}
}

// asARF: the JSON of smart_proxy_openscap, for the host of the certificate.
func asARF(policy string) func(*testing.T, []byte, standin.Request) {
	return func(t *testing.T, sent []byte, got standin.Request) {
		t.Helper()
		require.Regexp(t, `^/api/v2/compliance/arf_reports/web1\.example\.com/`+policy+`/\d+$`, got.Path)
		var doc struct {
			Digest  string
			Metrics map[string]int
			Proxy   string `json:"openscap_proxy_name"`
		}
		require.NoError(t, json.Unmarshal(got.Body, &doc))
		require.Equal(t, relay.DigestOf(sent), doc.Digest)
		require.Equal(t, map[string]int{"passed": 1, "failed": 1, "othered": 1}, doc.Metrics)
		require.Equal(t, "relay.example.com", doc.Proxy)
		require.Empty(t, got.Header.Get("Content-Encoding"))
	}
}

// fromTheHost: by token, MAC addresses and address, which Foreman finds it by.
func fromTheHost(path string) func(*testing.T, []byte, standin.Request) {
	return func(t *testing.T, sent []byte, got standin.Request) {
		t.Helper()
		asItCame(path)(t, sent, got)
		require.Equal(t, []string{"127.0.0.1"}, got.Header.Values("X-Forwarded-For"), "not what the host says of itself")
		require.Equal(t, "eth0 00:16:3e:00:00:01", got.Header.Get("X-RHN-Provisioning-MAC-0"))
	}
}

func clientRows() []clientRow {
	const asJSON = "application/json"
	mac := []string{"X-RHN-Provisioning-MAC-0", "eth0 00:16:3e:00:00:01", "X-Forwarded-For", "192.0.2.66"}
	arf := sends("POST", "/compliance/arf/7", "text/xml", "@arf.xml.bz2", "Content-Encoding", "x-bzip2")
	arf2 := sends("POST", "/compliance/arf/8", "text/xml", "@arf.xml.bz2", "Content-Encoding", "x-bzip2")
	return []clientRow{
		{"Puppet report processor", sends("POST", "/api/config_reports", asJSON, "@captures/puppet-config-report-65-resources.json"), any2xx, asItCame("/api/config_reports")},
		{"Puppet http processor", sends("POST", "/reports/puppet", "application/x-yaml", "@captures/puppet-report.yaml"), any2xx, asHostReport("puppet", "host1.example.com", 2, 69, 1)},
		{"Puppet http processor, old path", sends("POST", "/host_reports/puppet", "application/x-yaml", "host: old.example.com\n"), any2xx, asHostReport("puppet", "old.example.com", 0, 0, 0)},
		{"Puppet ENC facts", sends("POST", "/api/hosts/facts", asJSON, "@captures/puppet-facts.json"), any2xx, asItCame("/api/hosts/facts")},
		{"Ansible callback, facts", sends("POST", "/api/v2/hosts/facts", asJSON, `{"name":"a1.example.com","facts":{"ansible_facts":{"a":1},"_type":"ansible","_timestamp":"2026-11-24 03:00:00+00:00"}}`), below400, asItCame("/api/v2/hosts/facts")},
		{"Ansible callback, report", sends("POST", "/api/v2/config_reports", asJSON, `{"config_report":{"host":"a1.example.com","reported_at":"2026-11-24 03:00:00+00:00","metrics":{},"status":{"applied":1},"logs":[],"reporter":"ansible","check_mode":false}}`), below400, asItCame("/api/v2/config_reports")},
		{"Ansible callback, proxy", sends("POST", "/reports/ansible", asJSON, `{"host":"a2.example.com","reported_at":"2026-11-24T03:00:00","metrics":{},"summary":{"ok":1},"results":[{"failed":true,"result":{"msg":"no"},"task":{"action":"apt"}}],"check_mode":false}`), below400, asHostReport("ansible", "a2.example.com", 0, 1, 1)},
		{"Salt cron", sends("POST", "/salt/api/v2/jobs/upload", asJSON, `{"job":{"job_id":"20261124030000000001","function":"state.highstate","result":{"minion1.example.com":{"state":{}}}}}`), saltCron, asItCame("/salt/api/v2/jobs/upload")},
		{"Salt runner", sends("POST", "/salt/api/v2/jobs/upload", asJSON, `{"job":{"job_id":"20261124030000000002","function":"state.highstate","result":{"m1":{},"m2":{}}}}`), saltCron, asItCame("/salt/api/v2/jobs/upload")},
		{"Salt grains", sends("POST", "/api/hosts/facts", asJSON, `{"name":"minion1.example.com","facts":{"_type":"foreman_salt","os":"x"}}`), any2xx, asItCame("/api/hosts/facts")},
		{"foreman_scap_client", arf, scapRuby, asARF("7")},
		{"foreman_scap_client_bash", arf2, scapBash, asARF("8")},
		{"smart_proxy_openscap", sends("POST", "/api/v2/compliance/arf_reports/db1.example.com/7/1795451518", asJSON, `{"logs":[],"digest":"d","metrics":{"passed":1},"score":1.5}`), openscapProxy, asItCame("/api/v2/compliance/arf_reports/db1.example.com/7/1795451518")},
		{"smart_proxy_reports", sends("POST", "/api/v2/host_reports", asJSON, `{"host_report":{"format":"puppet","version":1,"host":"r1.example.com","reported_at":"2026-11-24 03:00:00 UTC","body":"{}","keywords":[],"change":0,"nochange":1,"failure":0}}`), reportsProxy, asItCame("/api/v2/host_reports")},
		{"dynflow callback", sends("POST", "/foreman_tasks/api/tasks/callback", asJSON, `{"callback":{"task_id":"1f4f5a3e-6f0e-4f0e-9d3c-0d5c9b1f2a3b","step_id":3},"data":{"result":[]}}`), exactly200, asItCame("/foreman_tasks/api/tasks/callback")},
		{"dynflow callbacks", sends("POST", "/foreman_tasks/api/tasks/callback", asJSON, `{"callbacks":[{"callback":{"task_id":"x","step_id":3},"data":{}}]}`), exactly200, asItCame("/foreman_tasks/api/tasks/callback")},
		{"built by GET", sends("GET", "/unattended/built?token=t-1", "", "", mac...), templatesProxy, fromTheHost("/unattended/built?token=t-1")},
		{"built by POST", sends("POST", "/unattended/built?token=t-2", "", "", mac...), templatesProxy, fromTheHost("/unattended/built?token=t-2")},
		{"built without a token", sends("POST", "/unattended/built", "text/plain", "", mac...), templatesProxy, fromTheHost("/unattended/built")},
		{"failed", sends("POST", "/unattended/failed?token=t-3", "text/plain", "Could not partition\n", mac...), templatesProxy, fromTheHost("/unattended/failed?token=t-3")},
	}
}

// TestEveryClient: a row per client of the contract that posts. Each is told
// what it takes for a success while Foreman is away; then everything is
// delivered, and a repeated request is not delivered again.
func TestEveryClient(t *testing.T) {
	for name, far := range map[string]bool{"one process": false, "two processes": true} {
		t.Run(name, func(t *testing.T) { everyClient(t, far) })
	}
}

func everyClient(t *testing.T, far bool) {
	f, client := startForARF(t, far)
	rows := clientRows()
	f.foreman.Stop()
	sent := make([][]byte, len(rows))
	ids := make([]string, len(rows))
	for i, row := range rows {
		sent[i], ids[i] = row.ask(t, client, f.url)
	}
	require.NoError(t, f.foreman.Start(""))
	harness.AwaitQueue(t, f.socket, 60*time.Second, func(s relay.QueueStatus) bool {
		return s.Accepted >= uint64(len(rows)) && s.Pending == 0
	})
	for i, row := range rows {
		t.Run(row.client, func(t *testing.T) {
			var got []standin.Request
			for _, r := range f.foreman.Requests() {
				if r.Header.Get("Relay-Message-Id") == ids[i] {
					got = append(got, r)
				}
			}
			require.Len(t, got, 1, "delivered once")
			require.True(t, got[0].Counted, "Foreman answered %d", got[0].Status)
			row.delivered(t, sent[i], got[0])
		})
	}
	harness.Audit(t, f.socket)
}

// ask sends a row's request, checks the answer by the client's own rule, and
// sends it once more where it has a key: the answer must be the same.
func (row clientRow) ask(t *testing.T, c *http.Client, url string) (sent []byte, id string) {
	t.Helper()
	var first string
	for try := range 2 {
		r := row.request(t)
		sent, _ = io.ReadAll(r.Body)
		again, err := http.NewRequestWithContext(t.Context(), r.Method, url+r.URL.String(), bytes.NewReader(sent))
		require.NoError(t, err)
		again.Header = r.Header
		resp, err := c.Do(again)
		require.NoError(t, err, row.client)
		answer, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.True(t, row.success(resp.StatusCode, string(answer)), "%s: %d %s", row.client, resp.StatusCode, answer)
		if try == 0 {
			id, first = resp.Header.Get("Relay-Message-Id"), string(answer)
			if !hasKey(row.client) {
				break
			}
			continue
		}
		require.Equal(t, id, resp.Header.Get("Relay-Message-Id"), row.client)
		require.Equal(t, "true", resp.Header.Get("Idempotent-Replayed"), row.client)
		if !strings.Contains(first, `"replayed"`) { // a receipt says it of itself
			require.Equal(t, first, string(answer), row.client)
		}
	}
	return sent, id
}

// hasKey: of facts the last must win, and an address is built again and again.
func hasKey(client string) bool {
	return !strings.Contains(client, "facts") && !strings.Contains(client, "grains") && !strings.Contains(client, "without a token")
}

// startForARF starts the relay with TLS and client certificates, and a client
// with that of web1.example.com.
func startForARF(t *testing.T, far bool) (*form, *http.Client) {
	t.Helper()
	certs := filepath.Join(t.TempDir(), "pki")
	_, errs, code := harness.Command(t, "pki", "init", certs, "--host", "web1.example.com")
	require.Zero(t, code, errs)
	in := func(name string) string { return filepath.Join(certs, name) }
	foreman := standin.New()
	require.NoError(t, foreman.Start("127.0.0.1:0"))
	t.Cleanup(foreman.Stop)
	address := harness.FreeAddress(t)
	config := filepath.Join(certs, "relay.yaml")
	require.NoError(t, os.WriteFile(config, []byte("foreman:\n  openscap_proxy_name: relay.example.com\nidentity:\n  speaks_for: any # servers and proxies send for their hosts\n"), 0o600))
	f := &form{t: t, foreman: foreman, url: "https://" + address, socket: filepath.Join(t.TempDir(), "s", "admin.sock"), certs: certs}
	edge := []string{"serve", "--config", config, "--listen", address, "--state-dir", filepath.Dir(f.socket), "--log-level", "warn",
		"--tls-cert", in("edge.crt"), "--tls-key", in("edge.key"), "--tls-client-ca", in("ca.crt")}
	if far {
		f.broker = harness.FreeAddress(t)
		f.edge = harness.Start(t, append(edge, "--broker-listen", f.broker, "--broker-cert", in("edge.crt"), "--broker-key", in("edge.key"), "--broker-client-ca", in("ca.crt"))...)
		f.startDrain("--config", config)
	} else {
		f.edge = harness.Start(t, append(edge, "--foreman-url", foreman.URL())...)
	}

	pem, err := os.ReadFile(in("ca.crt"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	pair, err := tls.LoadX509KeyPair(in("host.crt"), in("host.key"))
	require.NoError(t, err)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	require.Eventually(t, func() bool {
		resp, err := client.Get(f.url + "/readyz")
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	}, 20*time.Second, 50*time.Millisecond)
	return f, client
}
