package cmd

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	standin "github.com/theforeman/foreman-relay/test/foreman"
)

// A relay that is started with nothing given is a smart proxy, byte for byte.
func TestServeIsASmartProxy(t *testing.T) {
	p := startServe(t, "--config", writeFile(t, "smart_proxy: {features: [puppet, logs, edge_queue]}\n"))
	for path, golden := range map[string]string{"/features": "features", "/v2/features": "v2_features_http", "/version": "version", "/logs": "logs_none", "/v2/x": "not_found"} {
		want, err := os.ReadFile("../handlers/testdata/smartproxy/" + golden)
		require.NoError(t, err)
		_, body, _ := strings.Cut(string(want), "\n\n")
		status, got := p.askFor(path)
		require.Equal(t, strings.ReplaceAll(body, "1.2.3", Version()), got, path)
		require.Equal(t, path == "/v2/x", status == http.StatusNotFound)
	}
	_, body := startServe(t).askFor("/features")
	require.Equal(t, `["logs"]`, body, "the default")
}

// What dies and what is refused is in the log that Foreman shows.
func TestTheProxysLog(t *testing.T) {
	foreman := startForeman(t)
	foreman.SetRules(standin.Rule{Mode: standin.UnknownPolicy})
	p := startServe(t, "--foreman-url", foreman.URL())
	status, id := p.post("/relay/v1/queues/default/foreman/messages", "x")
	require.Equal(t, http.StatusAccepted, status)
	p.awaitState(id, relay.Dead)
	status, _ = p.post("/api/config_reports", "{")
	require.Equal(t, http.StatusBadRequest, status)
	var log struct {
		Logs []struct{ Level, Message, RequestID string }
	}
	require.Eventually(t, func() bool {
		_, body := p.askFor("/logs")
		require.NoError(t, json.Unmarshal([]byte(body), &log), body)
		return len(log.Logs) == 2
	}, 20*time.Second, 20*time.Millisecond)
	text := log.Logs[0].Message + log.Logs[1].Message
	require.Contains(t, text, "dead letter "+id+" of default/foreman: ")
	require.Contains(t, text, "refused POST /api/config_reports (malformed): ")
}

func TestSmartProxyConfiguration(t *testing.T) {
	for text, says := range map[string]string{
		"{features: [openscap]}":                   `smart_proxy.features: "openscap" must not be announced: Foreman would ask it for stored reports`,
		"{features: [templates]}":                  `"templates" must not be announced`,
		"{features: [Logs]}":                       `"Logs" is no name of a feature`,
		"{features: [\"\"]}":                       `"" is no name of a feature`,
		"{features: [logs, logs]}":                 `"logs" is there twice`,
		"{trusted_issuer: CN=a}":                   "smart_proxy.trusted_issuer says whose certificates",
		"{trusted_hosts: [\"*.example.com\"]}":     `smart_proxy.trusted_hosts: "*.example.com" is no name of a host`,
		"{url: foreman}":                           `smart_proxy.url is "foreman"`,
		"{url: \"https://a?b\"}":                   `smart_proxy.url is`,
		"{url: \"https://me:sesame@a\"}":           "smart_proxy.url cannot be used",
		"{name: \" a\"}":                           `smart_proxy.name is " a"`,
		"{name: " + strings.Repeat("x", 256) + "}": "at most 255 characters",
		"{trust: [a]}":                             "trust",
	} {
		_, errs, code := cli(t, "config", "check", "--config", writeFile(t, "smart_proxy: "+text+"\n"))
		require.Equal(t, exitUsage, code, text)
		require.Contains(t, errs, says)
		require.NotContains(t, errs, "sesame")
	}
	_, errs, code := cli(t, "config", "check", "--config", writeFile(t, "smart_proxy: {name: Edge 1, url: \"https://a:8443/\", features: [logs, puppet, ansible, salt, reports, my_plugin]}\n"))
	require.Zero(t, code, errs)
}

// That nobody is trusted is not that anybody is, also when the configuration was
// shown and is read again.
func TestTrustedHostsInTheConfiguration(t *testing.T) {
	for text, want := range map[string]*[]string{"": nil, "  trusted_hosts: null\n": nil, "  trusted_hosts: []\n": {}, "  trusted_hosts: [a]\n": {"a"}} {
		out, errs, code := cli(t, "config", "show", "--config", writeFile(t, "smart_proxy:\n  forward_verify: false\n"+text))
		require.Zero(t, code, errs)
		again := defaultConfig()
		require.NoError(t, yaml.Unmarshal([]byte(out), &again))
		require.Equal(t, want, again.SmartProxy.TrustedHosts, out)
		s := server{config: again}
		require.Equal(t, want == nil, s.smartProxy().Trust.Hosts == nil)
		require.False(t, s.smartProxy().Trust.ForwardVerify)
	}
	s := server{config: defaultConfig()}
	require.NoError(t, s.config.readFile(writeFile(t, "smart_proxy: {trusted_hosts: [a], trusted_issuer: CN=Foreman CA}\n")))
	require.Equal(t, "CN=Foreman CA", s.smartProxy().Trust.Issuer)
}
