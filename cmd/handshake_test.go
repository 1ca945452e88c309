package cmd

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	agefile "filippo.io/age"
	"filippo.io/age/armor"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// exampleOfHandshake is the document of docs/handshake.md.
func exampleOfHandshake(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/handshake.md")
	require.NoError(t, err)
	found := regexp.MustCompile("(?s)```json\n(.*?)```").FindSubmatch(text)
	require.NotNil(t, found)
	return string(found[1])
}

// The example of the documentation, over the admin socket: a dry run, the document,
// the same again; after a restart it is there, and its routes are in effect.
func TestTheExampleOfTheHandshake(t *testing.T) {
	file := writeFile(t, exampleOfHandshake(t))
	dir := filepath.Join(shortDir(t), "state")
	serve := startServe(t, "--state-dir", dir)
	_, errs, code := serve.ask("handshake", "show")
	require.Equal(t, exitNotFound, code, errs)

	var r relay.HandshakeReply
	serve.read(&r, "handshake", "apply", file, "--dry-run")
	require.True(t, r.DryRun)
	require.Equal(t, []string{"/credentials/ACME", "/destinations/hook", "/organizations/ACME", "/organizations/ACME~1R & D", "/routes/facts"}, r.Differences.Added)
	serve.read(&r, "handshake", "apply", file)
	require.Equal(t, []any{true, uint64(1), []string{"/destinations/hook", "/routes/facts"}}, []any{r.Changed, r.Revision, r.PendingRestart})
	var queue relay.QueueStatus
	serve.read(&queue, "queue", "show", "ACME/foreman") // at once
	status, _ := serve.post("/relay/v1/queues/ACME%2FR%20&%20D/foreman/messages", `{}`)
	require.Equal(t, http.StatusForbidden, status, "it is off")
	serve.read(&r, "handshake", "apply", file)
	require.False(t, r.Changed)
	other := writeFile(t, `{"version":1}`)
	_, errs, code = serve.ask("handshake", "apply", other)
	require.Equal(t, exitConflict, code)
	require.Contains(t, errs, `If-Match: "1"`)

	out, _, code := serve.ask("handshake", "apply", file, "--dry-run", "--if-match", "1")
	require.Zero(t, code)
	require.Contains(t, out, "/destinations/hook, /routes/facts")
	require.Zero(t, serve.stop())

	serve = startServe(t, "--state-dir", dir)
	client := handlers.Dial(serve.socket())
	defer client.Close()
	config, err := client.Config(t.Context())
	require.NoError(t, err)
	require.Contains(t, string(config), `"facts":{"expires":"6h0m0s","priority":"bulk"}`)
	out, errs, code = serve.ask("handshake", "show", "-o", "json")
	require.Zero(t, code, errs)
	require.Contains(t, out, `"sealed": "(kept back)"`)
	require.NotContains(t, out, "YWdlLWVuY3J5cHRpb24")
	serve.read(&r, "handshake", "apply", file)
	require.Equal(t, []any{false, []string{}}, []any{r.Changed, r.PendingRestart})
	serve.read(&r, "handshake", "apply", other, "--if-match", "1")
	require.Equal(t, []string{"/destinations/hook", "/routes/facts"}, r.PendingRestart)
	require.EqualValues(t, 2, r.Revision)
}

// What age itself writes is taken in both forms.
func TestWhatAgeSealsIsTaken(t *testing.T) {
	identity, err := agefile.GenerateX25519Identity()
	require.NoError(t, err)
	seal := func(to io.Writer) {
		w, err := agefile.Encrypt(to, identity.Recipient())
		require.NoError(t, err)
		_, err = io.WriteString(w, "hunter2")
		require.NoError(t, err)
		require.NoError(t, w.Close())
	}
	var plain, text bytes.Buffer
	seal(&plain)
	armored := armor.NewWriter(&text)
	seal(armored)
	require.NoError(t, armored.Close())
	for _, sealed := range []string{base64.StdEncoding.EncodeToString(plain.Bytes()), text.String()} {
		h := relay.Handshake{Organizations: map[string]relay.HandshakeOrganization{"ACME": {}},
			Credentials: []relay.SealedCredential{{Organization: "ACME", Destination: "hook", Sealed: sealed}}}
		require.Empty(t, h.Check())
	}
}

// Foreman itself, over TLS, and a host that would like to be it.
func TestForemanGivesTheHandshake(t *testing.T) {
	ca, cert, key := certificates(t)
	dir := filepath.Dir(ca)
	post := func(trusted string) (int, string) {
		serve := startServe(t, "--tls-cert", dir+"/edge.crt", "--tls-key", dir+"/edge.key", "--tls-client-ca", ca,
			"--config", writeFile(t, "smart_proxy: {trusted_hosts: ["+trusted+"]}\n"))
		pair, err := tls.LoadX509KeyPair(cert, key)
		require.NoError(t, err)
		pem, err := os.ReadFile(ca)
		require.NoError(t, err)
		pool := x509.NewCertPool()
		require.True(t, pool.AppendCertsFromPEM(pem))
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}}}
		resp, err := client.Post(serve.start["url"]+"/relay/v1/handshake", "application/json", strings.NewReader(exampleOfHandshake(t)))
		require.NoError(t, err)
		defer func() { require.NoError(t, resp.Body.Close()) }()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	status, body := post("web1.example.com")
	require.Equal(t, http.StatusOK, status, body)
	var r relay.HandshakeReply
	require.NoError(t, json.Unmarshal([]byte(body), &r))
	require.EqualValues(t, 1, r.Revision)
	status, body = post("foreman.example.com")
	require.Equal(t, http.StatusForbidden, status)
	require.Contains(t, body, "Untrusted client web1.example.com")
}

func TestRoutesAndRulesOfAHandshakeAreChecked(t *testing.T) {
	config := defaultConfig()
	for settings, want := range map[string]string{
		`{"zebra":{"max_age":"6h"}}`:        `there is no route "zebra"`,
		`{"facts":{"max_age":30}}`:          `routes.facts.max_age is "30"; write a time with its unit`,
		`{"facts":{"max_age":"1s"}}`:        "routes.facts.max_age is 1s; it must be from",
		`{"facts":{"mx_age":"1h"}}`:         `unknown key "routes.facts.mx_age"`,
		`{"facts":{"latest":false}}`:        "for the configuration of the relay alone",
		`{"facts":{"priority":"often"}}`:    `routes.facts.priority is "often"`,
		`{"message":{"max_body":"1MiB"}}`:   "max_body and priority are for routes of Foreman's clients",
		`{"facts":{"max_body":"100GiB"}}`:   "routes.facts.max_body",
		`{"facts":{"max_attempts":"many"}}`: "write a whole number",
	} {
		var routes map[string]map[string]any
		require.NoError(t, json.Unmarshal([]byte(settings), &routes))
		found := config.checkHandshake(relay.Handshake{Routes: routes})
		require.NotEmpty(t, found, settings)
		require.Contains(t, found[0].Message, want)
		require.NotContains(t, found[0].Message, "handshake:1")
	}
	for pointer, r := range map[string]relay.IdentityRule{
		"the rule.fingerprint is": {Fingerprint: "12:34"}, "the rule.speaks_for": {CN: "x", SpeaksFor: "a b"},
	} {
		found := config.checkHandshake(relay.Handshake{Organizations: map[string]relay.HandshakeOrganization{"A/B": {Rules: []relay.IdentityRule{{CN: "x"}, r}}}})
		require.Len(t, found, 1)
		require.Equal(t, "/organizations/A~1B/rules/1", found[0].Pointer)
		require.Contains(t, found[0].Message, pointer)
	}
	var routes map[string]map[string]any
	require.NoError(t, json.Unmarshal([]byte(`{"facts":{"expires":"6h","max_body":"1MiB","max_attempts":5,"retry_ambiguous":false}}`), &routes))
	require.Empty(t, config.checkHandshake(relay.Handshake{Routes: routes}))
	config.Routes["arf"] = RouteConfig{MaxAttempts: 3}
	routes["arf"] = map[string]any{"max_attempts": 9}
	all, err := config.withRoutes(routes)
	require.NoError(t, err)
	require.Equal(t, 3, all["arf"].MaxAttempts, "the configuration has the last word")
	require.Equal(t, 5, all["facts"].MaxAttempts)
	require.NotContains(t, config.Routes, "facts")
}
