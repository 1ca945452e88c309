package cmd

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

const destinationsFile = `
organizations: [ACME]
foreman: {url: "https://foreman.example.com", server_name: satellite.example.com, min_tls: 1.3, proxy: "http://proxy.example.com:3128", http2: true}
destinations:
  pulp:
    url: https://pulp.example.com/hook
    min_tls: 1.3
    http2: false
    timeout: 7s
    concurrency: 3
    rate: 2.5
    burst: 4
    probe_interval: 1s
    probe_path: /status
    max_answer: 2KiB
    allow_addresses: [127.0.0.1, 10.0.0.0/8]
  elsewhere: {}
`

// Each organization has a queue for each destination, and each destination its own
// way there.
func TestDestinationsAreRead(t *testing.T) {
	config := defaultConfig()
	require.NoError(t, config.readFile(writeFile(t, destinationsFile)))
	require.NoError(t, config.complete("x", func(string) string { return "/home" }))
	require.NoError(t, config.check())
	require.Equal(t, []relay.Queue{{Organization: "default", Destination: "foreman"}, {Organization: "default", Destination: "elsewhere"},
		{Organization: "default", Destination: "pulp"}, {Organization: "ACME", Destination: "foreman"}, {Organization: "ACME", Destination: "elsewhere"},
		{Organization: "ACME", Destination: "pulp"}}, config.queues())

	f := config.Foreman.options(0, 0)
	require.Equal(t, []any{"satellite.example.com", uint16(tls.VersionTLS13), "http://proxy.example.com:3128", true}, []any{f.ServerName, f.MinVersion, f.Proxy, f.HTTP2})
	fresh := defaultConfig()
	f = fresh.Foreman.options(0, 0)
	require.Equal(t, []any{"", uint16(tls.VersionTLS12), "", false}, []any{f.ServerName, f.MinVersion, f.Proxy, f.HTTP2})

	o, err := config.serviceOutlet("pulp")
	require.NoError(t, err)
	defer o.close()
	require.Equal(t, []any{"pulp", "https://pulp.example.com/hook", 7 * time.Second}, []any{o.name, o.url, o.longest})
	require.Equal(t, []any{3, 2.5, 4, time.Second}, []any{o.gate.Concurrency, o.gate.Rate, o.gate.Burst, o.gate.ProbeInterval})
	require.True(t, o.knows(messageRoute))
	require.False(t, o.knows("facts"), "nothing converts it")
	d := config.Destinations["pulp"].options(0, 0)
	require.Equal(t, []any{uint16(tls.VersionTLS13), false}, []any{d.MinVersion, d.HTTP2})
	require.Len(t, d.Allow, 2)
	d = config.Destinations["elsewhere"].options(0, 0)
	require.Equal(t, []any{uint16(tls.VersionTLS12), true}, []any{d.MinVersion, d.HTTP2})

	all, _, err := config.outlets()
	require.NoError(t, err)
	require.Equal(t, "https://foreman.example.com, pulp at https://pulp.example.com/hook", addresses(all), "what has no URL is not delivered to from here")
	for _, o := range all {
		o.close()
	}
	_, err = config.outletOf("nowhere")
	require.ErrorContains(t, err, `there is no destination "nowhere"`)
}

// `config show` prints what holds, of destinations too, and reads it back.
func TestShownDestinationsCanBeRead(t *testing.T) {
	shown, errs, code := cli(t, "config", "show", "--config", writeFile(t, destinationsFile))
	require.Zero(t, code, errs)
	again, errs, code := cli(t, "config", "show", "--config", writeFile(t, shown))
	require.Zero(t, code, errs)
	require.Equal(t, shown, again)
	var c Config
	require.NoError(t, yaml.UnmarshalWithOptions([]byte(shown), &c, yaml.Strict()))
	require.Equal(t, []any{kindHTTP, time.Minute, 8, ByteSize(64 << 10), true}, []any{c.Destinations["elsewhere"].Kind, c.Destinations["elsewhere"].Timeout,
		c.Destinations["elsewhere"].Concurrency, c.Destinations["elsewhere"].MaxAnswer, *c.Destinations["elsewhere"].HTTP2})
}

func TestDestinationsThatAreWrong(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(key, []byte("secret\n"), 0o600))
	for text, want := range map[string]string{
		"destinations: {foreman: {url: https://f}}":                            "destinations.foreman: Foreman is configured in foreman",
		"destinations: {Pulp: {}}":                                             `destinations.Pulp: destination "Pulp": use 1 to 32 of`,
		"destinations: {pulp: https://pulp}":                                   "1: destinations.pulp holds keys of its own",
		"destinations: [pulp]":                                                 "1: destinations holds names and their values",
		"destinations: {pulp: {timout: 1s}}":                                   `1: unknown key "destinations.pulp.timout"; did you mean "destinations.pulp.timeout"?`,
		"destinations: {pulp: {timeout: soon}}":                                `1: destinations.pulp.timeout is "soon"`,
		"destinations: {pulp: {http2: maybe}}":                                 `1: destinations.pulp.http2 is "maybe"; write true or false`,
		"destinations: {pulp: {kind: smtp}}":                                   `destinations.pulp.kind is "smtp"; choose one of http`,
		"destinations: {pulp: {min_tls: 1.1}}":                                 `destinations.pulp.min_tls is "1.1"; choose one of 1.2 1.3`,
		"foreman: {min_tls: 1.1}":                                              `foreman.min_tls is "1.1"`,
		"foreman: {allow_addresses: [localhost]}":                              `foreman.allow_addresses: "localhost" is neither an address nor a network`,
		"destinations: {pulp: {allow_addresses: [10.0.0.0/99]}}":               `destinations.pulp.allow_addresses: "10.0.0.0/99"`,
		"destinations: {pulp: {cert: " + key + "}}":                            "destinations.pulp.cert and destinations.pulp.key must be given together",
		"destinations: {pulp: {ca: /nowhere}}":                                 "destinations.pulp.ca /nowhere: no such file",
		"destinations: {pulp: {authorization_file: /nowhere}}":                 "destinations.pulp.authorization_file /nowhere: no such file",
		"destinations: {pulp: {proxy_authorization_file: /nowhere}}":           "destinations.pulp.proxy_authorization_file /nowhere: no such file",
		"destinations: {pulp: {concurrency: 1025}}":                            "destinations.pulp.concurrency is 1025; it must be from 1 to 1024",
		"destinations: {pulp: {rate: -1}}":                                     "destinations.pulp.rate is -1",
		"destinations: {pulp: {max_answer: 1}}":                                "destinations.pulp.max_answer is 1",
		"destinations: {pulp: {timeout: 11m}}":                                 "destinations.pulp.timeout is 11m",
		"destinations: {pulp: {probe_interval: 6s}}":                           "destinations.pulp.probe_interval is 6s",
		"destinations: {pulp: {probe_path: ../x}}":                             "destinations.pulp.probe_path: path",
		"destinations: {pulp: {url: 'https://a:secret@pulp'}}":                 "the URL of destinations.pulp holds a user",
		"destinations: {pulp: {url: 'https://pulp/?token=secret'}}":            "write it without query and fragment",
		"foreman: {url: 'https://a:secret@foreman'}":                           "the URL of Foreman holds a user",
		"foreman: {url: 'https://f', proxy: 'http://a:secret@proxy:1'}":        "the proxy for Foreman holds a user",
		"foreman: {proxy: 'http://a:secret@proxy:1'}":                          "the proxy for foreman holds a user",
		"destinations: {pulp: {proxy: 'http://a:secret@proxy:1'}}":             "the proxy for destinations.pulp holds a user",
		"destinations: {pulp: {url: 'https://p', ca: " + key + "}}":            "CA of destinations.pulp: " + key + " holds no certificate",
		"destinations: {pulp: {url: 'https://p', proxy: 'socks5://proxy:12'}}": "the proxy for destinations.pulp is none that can be used",
	} {
		_, errs, code := cli(t, "config", "check", "--config", writeFile(t, text+"\n"))
		require.Equal(t, exitUsage, code, text)
		require.Contains(t, errs, want, text)
		require.NotContains(t, errs, "secret", text)
	}
}

func TestDoctorLooksAtCertificatesOfDestinations(t *testing.T) {
	ca, cert, key := certificates(t)
	all := examineCertificates(Config{Destinations: map[string]Destination{"pulp": {Reach: Reach{CA: ca, Cert: cert, Key: key}}}}, time.Now())
	var checks []string
	for _, f := range all {
		require.Equal(t, levelOK, f.Level, f.What)
		checks = append(checks, f.Check)
	}
	require.Equal(t, []string{"destinations.pulp.cert", "destinations.pulp.key", "destinations.pulp.ca"}, checks)
	require.NoError(t, os.Chmod(key, 0o604))
	for where, want := range map[string]string{"tls.key": levelWarn, "foreman.key": levelFail, "destinations.pulp.key": levelFail} {
		require.Equal(t, want, examineKey(where, cert, key).Level, where)
	}
}

// Every destination has a circuit and a gate of its own, and shows them from the
// start, whether it is delivered to from here or not.
func TestMetricsOfEachDestination(t *testing.T) {
	p := startServe(t, "--config", writeFile(t, "destinations: {pulp: {url: 'http://127.0.0.1:1', concurrency: 3, rate: 3}, elsewhere: {}}\n"))
	text := p.metrics()
	for destination, limit := range map[string]string{"foreman": "0", "elsewhere": "0", "pulp": "1"} {
		require.Contains(t, text, `foreman_relay_concurrency_limit{destination="`+destination+`"} `+limit+"\n")
		require.Contains(t, text, `foreman_relay_attempts_total{class="delivered",destination="`+destination+`"} 0`)
		require.Contains(t, text, `foreman_relay_attempt_duration_seconds_count{destination="`+destination+`"} 0`)
	}
	require.Contains(t, text, `foreman_relay_rate_limit{destination="pulp"} 1`)
	require.Contains(t, p.start["message"], "delivers to pulp at http://127.0.0.1:1;")
}

// A drain is for one destination; it says what is missing for that one.
func TestADrainForADestination(t *testing.T) {
	ca, _, _ := certificates(t)
	args := append(drainArgs(t, filepath.Dir(ca), "127.0.0.1:1", ""), "--destination", "pulp")
	_, errs, code := cli(t, args...)
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, `a drain for "pulp" needs destinations.pulp.url in its configuration`)
	require.NotContains(t, errs, "foreman-url")

	drain := startProcess(t, append(args, "--config", writeFile(t, "destinations: {pulp: {url: 'http://127.0.0.1:1/hook'}}\n"))...)
	require.Contains(t, drain.start["message"], "to pulp at http://127.0.0.1:1/hook as ")
	require.Zero(t, drain.stop())
}
