package cmd

import (
	"net/http"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
	standin "github.com/theforeman/foreman-relay/test/foreman"
)

func TestIdentityIsChecked(t *testing.T) {
	file := writeFile(t, "")
	none, secure := "", func(c *Config) { c.TLS.Cert, c.TLS.Key, c.TLS.ClientCA = file, file, file }
	rule := func(r relay.IdentityRule) func(*Config) {
		return func(c *Config) { secure(c); c.Identity.Rules = []relay.IdentityRule{r} }
	}
	forward := func(from ...string) func(*Config) { return func(c *Config) { c.Identity.Forward.From = from } }
	for name, c := range map[string]struct {
		change func(*Config)
		want   string // empty: it is good
	}{
		"a rule":                     {rule(relay.IdentityRule{SubjectO: "*", Organization: "subject_o", SpeaksFor: "own, *.example.com"}), ""},
		"a rule without identity":    {func(c *Config) { c.Identity.Rules = []relay.IdentityRule{{Organization: "A"}} }, "identity.rules and identity.default_organization need tls.client_ca"},
		"a default without identity": {func(c *Config) { c.Identity.DefaultOrganization = &none }, "need tls.client_ca"},
		"a rule for nobody":          {rule(relay.IdentityRule{CN: "x"}), "identity.rules[0].organization is missing"},
		"an issuer, of the proxy's": {func(c *Config) {
			c.Identity.Forward.From, c.Identity.Rules = []string{"::1"}, []relay.IdentityRule{{Issuer: "CN=a", Organization: "A"}}
		}, "identity.rules[0].issuer needs tls.client_ca"},
		"half a fingerprint":           {rule(relay.IdentityRule{Fingerprint: "ab:cd", Organization: "A"}), `identity.rules[0].fingerprint is "ab:cd"`},
		"speaking for a URL":           {rule(relay.IdentityRule{Organization: "A", SpeaksFor: "https://a"}), "identity.rules[0].speaks_for"},
		"speaking for nothing":         {func(c *Config) { c.Identity.SpeaksFor = "own," }, "identity.speaks_for"},
		"a request for a certificate":  {func(c *Config) { secure(c); c.TLS.ClientAuth = "request"; c.TLS.CRL = []string{file} }, ""},
		"another word for it":          {func(c *Config) { secure(c); c.TLS.ClientAuth = "optional" }, `tls.client_auth is "optional"; choose one of require request`},
		"a request without a CA":       {func(c *Config) { c.TLS.ClientAuth = "request" }, "tls.client_auth and tls.crl need tls.client_ca"},
		"a CRL that is missing":        {func(c *Config) { secure(c); c.TLS.CRL = []string{"/nowhere/x.crl"} }, "tls.crl /nowhere/x.crl: no such file"},
		"a proxy":                      {forward("192.0.2.7", "2001:db8::/32"), ""},
		"a proxy's name":               {forward("proxy.example.com"), `identity.forward.from: "proxy.example.com" is neither an address nor a network`},
		"a proxy that says nothing":    {func(c *Config) { c.Identity.Forward = Forward{From: []string{"::1"}, Verify: "V"} }, "identity.forward needs the names of the headers"},
		"a header with a blank":        {func(c *Config) { c.Identity.Forward.DN = "X Y" }, `"X Y" is no name of a header`},
		"a host":                       {func(c *Config) { c.Identity.Hosts = map[string]string{"a.example.com": "A"} }, ""},
		"a host that is none":          {func(c *Config) { c.Identity.Hosts = map[string]string{"*.example.com": "A"} }, "identity.hosts: write HOST: ORGANIZATION"},
		"a host of nobody's":           {func(c *Config) { c.Identity.Hosts = map[string]string{"a": ""} }, "identity.hosts"},
		"less than nothing remembered": {func(c *Config) { c.Identity.RememberHosts = -1 }, "identity.remember_hosts is -1"},
	} {
		t.Run(name, func(t *testing.T) {
			config := defaultConfig()
			c.change(&config)
			if err := config.check(); c.want == "" {
				require.NoError(t, err)
			} else {
				require.Equal(t, exitUsage, exitCode(err))
				require.ErrorContains(t, err, c.want)
			}
		})
	}
}

// Whom the default takes: all, until there are rules; then nobody, unless it says so.
func TestTheDefaultOrganization(t *testing.T) {
	of := func(text string) (certified, anonymous string) {
		config := defaultConfig()
		require.NoError(t, config.readFile(writeFile(t, "organization: ACME\n"+text)))
		callers := (&server{config: config}).callers()
		return callers.Default, callers.Anonymous
	}
	for text, want := range map[string][2]string{
		"":                                      {"ACME", "ACME"},
		"identity: {default_organization: X}\n": {"X", "X"},
		"identity: {default_organization: \"\"}\n":                                 {"", ""},
		"identity: {rules: [{cn: a, organization: A}]}\n":                          {"", "ACME"},
		"identity: {rules: [{cn: a, organization: A}], default_organization: B}\n": {"B", "B"},
	} {
		certified, anonymous := of(text)
		require.Equal(t, want, [2]string{certified, anonymous}, text)
	}
}

// What `config show` prints is what it has read.
func TestIdentityIsShown(t *testing.T) {
	text := "identity:\n  rules:\n  - {subject_o: ACME Inc, san: 'spiffe://a/*', organization: 'ACME Inc/Lab', speaks_for: '*.example.com'}\n" +
		"  forward: {from: ['::1'], dn: Subject}\n  hosts: {a.example.com: ACME Inc}\n"
	out, errs, code := cli(t, "config", "show", "--config", writeFile(t, text))
	require.Zero(t, code, errs)
	first, again := defaultConfig(), defaultConfig()
	require.NoError(t, first.readFile(writeFile(t, text)))
	require.NoError(t, yaml.Unmarshal([]byte(out), &again))
	require.Equal(t, first.Identity, again.Identity, out)
	require.Equal(t, relay.IdentityRule{SubjectO: "ACME Inc", SAN: "spiffe://a/*", Organization: "ACME Inc/Lab", SpeaksFor: "*.example.com"}, again.Identity.Rules[0])
	_, errs, code = cli(t, "config", "check", "--config", writeFile(t, "identity:\n  rules:\n  - {cm: a, organization: A}\n"))
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, `3: unknown key "identity.rules[0].cm"`)
}

// Behind a proxy that says who asks, a loopback listener is no longer this
// machine's alone.
func TestAProxyOpensTheLoopback(t *testing.T) {
	config := defaultConfig()
	require.True(t, config.alone())
	config.Identity.Forward.From = []string{"127.0.0.1"}
	require.False(t, config.alone())
	require.False(t, (&server{config: config}).pass().Loopback)
	require.False(t, (&server{config: config}).smartProxy().Loopback)
}

// A dead letter tells who sent it, and so does its export.
func TestTheSenderOfALetter(t *testing.T) {
	f := startForeman(t)
	f.SetRules(standin.Rule{Mode: standin.UnknownPolicy})
	p := startServe(t, "--foreman-url", f.URL(), "--config", writeFile(t, "identity: {forward: {from: [127.0.0.1]}, speaks_for: any}\n"))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.start["url"]+"/relay/v1/queues/default/foreman/messages", strings.NewReader("x"))
	require.NoError(t, err)
	for name, value := range map[string]string{"Content-Type": "application/json", "X-SSL-Client-Verify": "SUCCESS", "X-SSL-Client-DN": "CN=web01.example.com"} {
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusAccepted, resp.StatusCode)
	id := resp.Header.Get("Relay-Message-Id")
	p.awaitState(id, relay.Dead)
	for _, args := range [][]string{{"message", "show", id}, {"dlq", "show", id}} {
		out, errs, code := p.ask(args...)
		require.Zero(t, code, errs)
		require.Regexp(t, `sender\s+web01\.example\.com`, out)
	}
	out, errs, code := p.ask("dlq", "export")
	require.Zero(t, code, errs)
	require.Contains(t, out, `"Relay-Sender":"web01.example.com"`)
	out, errs, code = p.ask("dlq", "ls", "--where", "sender~web01.", "-q")
	require.Zero(t, code, errs)
	require.Equal(t, id+"\n", out)
}

// The rules of an organization count after the configuration's, from the moment
// that it is changed.
func TestAnOrganizationsRulesAreInForce(t *testing.T) {
	p := startServe(t, "--config", writeFile(t, "identity: {forward: {from: [127.0.0.1]}, rules: [{cn: nobody, organization: default}]}\n"))
	post := func() int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.start["url"]+"/relay/v1/queues/ACME/foreman/messages", strings.NewReader("x"))
		require.NoError(t, err)
		r.Header.Set("X-SSL-Client-Verify", "SUCCESS")
		r.Header.Set("X-SSL-Client-DN", "CN=web01.example.com")
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	require.Equal(t, http.StatusForbidden, post())
	client := handlers.Dial(p.socket())
	defer client.Close()
	_, err := client.PutOrganization(t.Context(), relay.Organization{Name: "ACME", Enabled: true, Rules: []relay.IdentityRule{{CN: "*.example.com"}}}, 0)
	require.NoError(t, err)
	require.Equal(t, http.StatusAccepted, post())
}
