package cmd

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay/foreman"
	standin "github.com/theforeman/foreman-relay/test/foreman"
)

// registering is a Foreman and how to register with it.
type registering struct {
	*standin.Server
	t    *testing.T
	file string // with the user
}

func newRegistering(t *testing.T) *registering {
	r := &registering{Server: startForeman(t), t: t, file: filepath.Join(t.TempDir(), "user")}
	require.NoError(t, os.WriteFile(r.file, []byte(standin.AdminUser+":"+standin.AdminPassword+"\n"), 0o600))
	return r
}

// run registers; what it prints never holds the password.
func (r *registering) run(name, url string, more ...string) (stdout, stderr string, code int) {
	r.t.Helper()
	args := append([]string{"register", "--foreman-url", r.URL(), "--name", name, "--url", url, "--credentials", r.file, "-o", "json"}, more...)
	out, errs, code := cli(r.t, args...)
	require.NotContains(r.t, out+errs, standin.AdminPassword)
	return out, errs, code
}

// done registers without an error.
func (r *registering) done(name, url string, more ...string) (got foreman.Registered) {
	r.t.Helper()
	out, errs, code := r.run(name, url, more...)
	require.Zero(r.t, code, errs)
	require.NoError(r.t, json.Unmarshal([]byte(out), &got), out)
	return got
}

// changes are the requests that may have changed something.
func (r *registering) changes() (all []string) {
	for _, q := range r.Requests() {
		if q.Method != http.MethodGet {
			all = append(all, fmt.Sprint(q.Method, " ", q.Path, " ", q.Status))
		}
	}
	r.Forget()
	return all
}

// Made, done again, moved, and added to organizations; what an administrator has
// taken away stays away.
func TestRegister(t *testing.T) {
	f := newRegistering(t)
	f.SetOrganizations("ACME", "ACME/R & D", `The "Works" \ Co`, "42")
	edge := startServe(t)

	got := f.done("edge1", edge.start["url"]+"/", "--assign", "ACME/R & D")
	require.Equal(t, foreman.Registered{ID: got.ID, Name: "edge1", URL: edge.start["url"], Done: foreman.Created, Features: []string{"Logs"}, Organizations: []string{"ACME/R & D"}}, got)
	require.Equal(t, []string{"POST /api/v2/smart_proxies 201"}, f.changes())

	got = f.done("edge1", edge.start["url"])
	require.Equal(t, foreman.Refreshed, got.Done)
	require.Equal(t, []string{"ACME/R & D"}, got.Organizations)
	require.Equal(t, []string{fmt.Sprintf("PUT /api/v2/smart_proxies/%d/refresh 200", got.ID)}, f.changes())

	got = f.done("edge1", edge.start["url"], "--assign", `The "Works" \ Co`, "--assign", "1")
	require.Equal(t, foreman.Updated, got.Done)
	require.Equal(t, []string{"ACME", "ACME/R & D", `The "Works" \ Co`}, got.Organizations)
	require.Equal(t, []string{fmt.Sprintf("PUT /api/v2/smart_proxies/%d 200", got.ID)}, f.changes())

	f.Assign("edge1", 1)
	require.Equal(t, foreman.Refreshed, f.done("edge1", edge.start["url"], "--assign", "ACME").Done)
	require.Equal(t, []int{1}, f.SmartProxies()[0].Organizations)

	elsewhere := startServe(t)
	got = f.done("edge1", elsewhere.start["url"])
	require.Equal(t, []any{foreman.Updated, elsewhere.start["url"], []string{"ACME"}}, []any{got.Done, got.URL, got.Organizations})
	require.Len(t, f.SmartProxies(), 1)
}

// Several relays on one machine, each by its own configuration file, the user from
// the environment.
func TestSeveralRelaysRegister(t *testing.T) {
	f := newRegistering(t)
	for _, name := range []string{"edge1", "edge2"} {
		edge := startServe(t)
		config := writeFile(t, fmt.Sprintf("foreman: {url: %s}\nsmart_proxy: {name: %s, url: %s, features: [logs, edge_queue]}\n", f.URL(), name, edge.start["url"]))
		out, errs, code := cliWith(t, []string{"HOME=" + shortDir(t), "FOREMAN_USERNAME=admin", "FOREMAN_PASSWORD=changeme"}, "register", "--config", config)
		require.Zero(t, code, errs)
		require.Contains(t, out, "created")
		require.Contains(t, errs, `Foreman does not know the feature "edge_queue"`)
	}
	require.Len(t, f.SmartProxies(), 2)
}

// Each error that Foreman knows: what it is, and what to do.
func TestRegisterErrors(t *testing.T) {
	f := newRegistering(t)
	f.SetOrganizations("ACME")
	with := func(yaml string) string { return startServe(t, "--config", writeFile(t, yaml)).start["url"] }
	edge := startServe(t).start["url"]
	f.done("edge1", edge)
	other := startServe(t).start["url"]
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	defer stranger.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := "http://" + l.Addr().String()
	require.NoError(t, l.Close())

	for name, c := range map[string]struct {
		name, url string
		more      []string
		rule      *standin.Rule
		code      int
		says      []string
	}{
		"features that nobody knows": {"edge2", with("smart_proxy: {features: [edge_queue]}"), nil, nil, exitUsage,
			[]string{`Features "edge_queue" in this proxy are not recognized by Foreman`, "add it to smart_proxy.features"}},
		"no features": {"edge2", with("smart_proxy: {features: []}"), nil, nil, exitUsage, []string{"announces no features", "add logs to smart_proxy.features"}},
		"nobody there": {"edge2", nobody, nil, nil, exitUnavailable,
			[]string{"Foreman was reached, but does not reach the relay at " + nobody, "ECONNREFUSED", "curl -v " + nobody + "/features"}},
		"Foreman is not trusted": {"edge2", with("smart_proxy: {trusted_hosts: []}"), nil, nil, exitUnavailable,
			[]string{"403 Forbidden", "smart_proxy.trusted_hosts"}},
		"the URL is taken":        {"edge2", edge + "/", nil, nil, exitConflict, []string{"the URL " + edge + ` belongs to the smart proxy "edge1" in Foreman`, "smart_proxy.url"}},
		"not a smart proxy":       {"edge2", stranger.URL, nil, nil, exitUnavailable, []string{"what answers Foreman at " + stranger.URL + " is no smart proxy"}},
		"another path of one":     {"edge2", edge + "/relay", nil, nil, exitUnavailable, []string{"Foreman was reached, but does not reach", "404"}},
		"no such organization":    {"edge2", other, []string{"--assign", "acme"}, nil, exitNotFound, []string{`Foreman has no organization "acme"`, "Parent/Child"}},
		"no such id":              {"edge2", other, []string{"--assign", "7"}, nil, exitNotFound, []string{`Foreman has no organization "7"`}},
		"not let in":              {"edge2", other, nil, &standin.Rule{Mode: standin.Unauthorize}, exitDenied, []string{"does not let user admin in (401)", "Check login and password"}},
		"not allowed":             {"edge2", other, nil, &standin.Rule{Mode: standin.Forbidden}, exitDenied, []string{"does not allow user admin this (403)", "edit_smart_proxies"}},
		"maintenance":             {"edge2", other, nil, &standin.Rule{Mode: standin.JSON503}, exitUnavailable, []string{"(503)", "pending migrations", "try again later"}},
		"a page":                  {"edge2", other, nil, &standin.Rule{Mode: standin.Maintenance}, exitUnavailable, []string{"is not Foreman: no version header"}},
		"a gateway":               {"edge2", other, nil, &standin.Rule{Mode: standin.BadGateway}, exitUnavailable, []string{"(502)"}},
		"Foreman does not answer": {"edge2", other, nil, &standin.Rule{Mode: standin.Drop}, exitUnavailable, []string{"does not answer"}},
	} {
		t.Run(name, func(t *testing.T) {
			f.SetRules()
			if c.rule != nil {
				f.SetRules(*c.rule)
			}
			out, errs, code := f.run(c.name, c.url, c.more...)
			require.Equal(t, c.code, code, errs)
			require.Empty(t, out)
			for _, says := range c.says {
				require.Contains(t, errs, says)
			}
			require.Len(t, f.SmartProxies(), 1)
		})
	}
}

// As it is in production: the edge speaks TLS, asks Foreman for its certificate,
// and trusts the name in it alone.
func TestRegisterOverTLS(t *testing.T) {
	f := newRegistering(t)
	dir := filepath.Join(t.TempDir(), "pki")
	_, errs, code := cli(t, "pki", "init", dir, "--host", "foreman.example.com")
	require.Zero(t, code, errs)
	_, errs, code = cli(t, "pki", "issue", dir, "--use", "host", "--host", "web1.example.com")
	require.Zero(t, code, errs)
	file := func(name string) string { return filepath.Join(dir, name) }
	edge := startServe(t, "--tls-cert", file("edge.crt"), "--tls-key", file("edge.key"), "--tls-client-ca", file("ca.crt"),
		"--config", writeFile(t, "smart_proxy: {trusted_hosts: [foreman.example.com]}\n"))

	_, errs, code = f.run("edge1", edge.start["url"])
	require.Equal(t, exitUnavailable, code)
	require.Contains(t, errs, "is of a CA that Foreman trusts")

	f.CallWith(asHost(t, file, "web1.example.com"))
	_, errs, code = f.run("edge1", edge.start["url"])
	require.Equal(t, exitUnavailable, code)
	require.Contains(t, errs, "a name that smart_proxy.trusted_hosts has")

	f.CallWith(asHost(t, file, "host")) // foreman.example.com
	require.Equal(t, foreman.Created, f.done("edge1", edge.start["url"]).Done)
}

// asHost is a client with the certificate of a host.
func asHost(t *testing.T, file func(string) string, name string) *http.Client {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(file(name+".crt"), file(name+".key"))
	require.NoError(t, err)
	ca, err := os.ReadFile(file("ca.crt"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(ca))
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, MinVersion: tls.VersionTLS12}}}
}

// A wrong password, in a file: the error names the user and not the password, and
// Foreman shuts out who goes on.
func TestRegisterWithAWrongPassword(t *testing.T) {
	f := newRegistering(t)
	require.NoError(t, os.WriteFile(f.file, []byte("admin:sesame"), 0o600))
	for range 31 {
		_, errs, code := f.run("edge1", "http://127.0.0.1:1")
		require.Equal(t, exitDenied, code)
		require.NotContains(t, errs, "sesame")
	}
	_, errs, _ := f.run("edge1", "http://127.0.0.1:1")
	require.Contains(t, errs, "Too many tries")
}

func TestWrongRegisterCalls(t *testing.T) {
	file := func(text string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "user")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, os.Chmod(path, mode))
		return path
	}
	good := file("admin:changeme", 0o640)
	for name, c := range map[string]struct {
		url, proxy, file string
		env              []string
		says             string
	}{
		"no Foreman":           {"", "http://127.0.0.1:1", good, nil, "registering needs --foreman-url"},
		"no URL":               {"http://127.0.0.1:1", "", good, nil, "registering needs --url"},
		"a path of a URL":      {"http://127.0.0.1:1", "edge1:8443", good, nil, "smart_proxy.url"},
		"a user in the URL":    {"http://127.0.0.1:1", "https://me:sesame@edge1", good, nil, "smart_proxy.url cannot be used"},
		"no user":              {"http://127.0.0.1:1", "http://127.0.0.1:1", "", nil, "no user of Foreman is given"},
		"half a user":          {"http://127.0.0.1:1", "http://127.0.0.1:1", "", []string{"FOREMAN_USERNAME=admin"}, "FOREMAN_USERNAME and FOREMAN_PASSWORD: a user of Foreman needs both"},
		"for everybody":        {"http://127.0.0.1:1", "http://127.0.0.1:1", file("admin:sesame", 0o644), nil, "chmod o="},
		"no colon":             {"http://127.0.0.1:1", "http://127.0.0.1:1", file("sesame", 0o600), nil, "must hold one line, LOGIN:PASSWORD"},
		"two lines":            {"http://127.0.0.1:1", "http://127.0.0.1:1", file("admin:sesame\nsesame", 0o600), nil, "must hold one line"},
		"no file":              {"http://127.0.0.1:1", "http://127.0.0.1:1", "/nowhere/user", nil, "credentials: open /nowhere/user"},
		"without TLS":          {"http://foreman.example.com", "http://127.0.0.1:1", good, nil, "a password is not sent without TLS"},
		"localhost look-alike": {"http://localhost.example.com", "http://127.0.0.1:1", good, nil, "a password is not sent without TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"register", "--name", "edge1", "--foreman-url", c.url, "--url", c.proxy, "--credentials", c.file}
			out, errs, code := cliWith(t, append(c.env, "HOME="+shortDir(t)), args...)
			require.Equal(t, exitUsage, code, errs)
			require.Empty(t, out)
			require.Contains(t, errs, c.says)
			require.NotContains(t, errs, "sesame")
		})
	}
}
