package test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	standin "github.com/theforeman/foreman-relay/test/foreman"
	"github.com/theforeman/foreman-relay/test/harness"
)

// Nothing of what is passed, and nothing of a sealed body, is found anywhere but at
// its destination: not in logs, events, state directories, exports, answers,
// metrics or lists of processes, as it is or in another spelling. A body that is
// not sealed is the control: the same search finds it.
func TestNoSecretIsLeftAnywhere(t *testing.T) {
	inVaults(t, func(t *testing.T, v *vault) {
		scan := &secretScan{t: t, forms: map[string][][]byte{}}
		scan.secret("token", []byte(v.token))
		scan.secret("password", []byte(v.password))
		scan.secret("marker of a sealed body", []byte(v.marker))
		scan.keyOf(filepath.Join(v.pki, "host.key"))

		if v.far { // nobody has told a key yet
			status, text := v.send("default", []byte(`{}`), v.passed(true))
			require.Equal(t, http.StatusServiceUnavailable, status)
			require.Contains(t, text, "no drain has told its key yet")
			scan.text("answer without a key", text)
			require.Zero(t, harness.Queues(t, v.socket)[0].Accepted, "nothing was stored")
		}
		scan.text("answer to what is malformed", refusedOf(v, map[string]string{"Relay-Authorization": v.token}))
		scan.text("answer to half a pair", refusedOf(v, map[string]string{"Relay-Client-Key": v.passed(true)["Relay-Client-Key"]}))
		v.deliverNow()
		v.throughAll(scan)

		scan.everywhere(v)
		require.Positive(t, scan.looked, "something was looked at")
		control := &secretScan{t: t, forms: map[string][][]byte{"control": {[]byte(v.open)}}, count: true}
		control.dir("state of the edge", v.state)
		require.Positive(t, control.found, "a body that is not sealed is found")
	})
}

func refusedOf(v *vault, headers map[string]string) string {
	v.t.Helper()
	status, text := v.send("default", []byte(`{}`), headers)
	require.GreaterOrEqual(v.t, status, 400)
	require.Less(v.t, status, 500)
	return text
}

// throughAll takes messages through all that may become of them.
func (v *vault) throughAll(scan *secretScan) {
	t := v.t
	first := v.report("default", "a.example.com", v.marker, v.passed(true))
	got := v.await("a.example.com")
	require.Equal(t, "Bearer "+v.token, got.Header.Get("Authorization"))
	require.Equal(t, "sender.example.com", got.Client, "the passed certificate, not the relay's")
	require.Contains(t, string(got.Body), v.marker)
	require.Empty(t, got.Header.Get("Relay-Authorization"))

	v.report("default", "b.example.com", v.marker, v.passed(false))
	got = v.await("b.example.com")
	require.Equal(t, "Bearer "+v.token, got.Header.Get("Authorization"))
	require.Empty(t, got.Client, "not the relay's certificate with somebody else's token")

	v.report("ACME", "c.example.com", v.open, nil)
	got = v.await("c.example.com")
	require.Contains(t, got.Header.Get("Authorization"), "Basic ")
	require.Empty(t, got.Client)

	v.report("default", "d.example.com", v.marker, nil)
	got = v.await("d.example.com")
	require.Empty(t, got.Header.Get("Authorization"))
	require.NotEmpty(t, got.Client, "the relay's own")

	// An outage, a kill in it, and what is refused afterwards.
	v.foreman.Stop()
	waiting := v.report("default", "e.example.com", v.marker, v.passed(true))
	refused := v.report("default", "f.example.com", v.marker, v.passed(true))
	scan.text("peek", v.run("queue", "peek", "default/foreman", "--body", "-o", "json"))
	scan.text("why", v.run("message", "why", waiting.ID))
	for _, p := range append(v.drains, v.edge) {
		p.Kill()
		p.Again()
	}
	v.awaitReady()
	v.foreman.SetRules(standin.Rule{Mode: standin.Unauthorize, Host: "f.example.com"})
	require.NoError(t, v.foreman.Start(""))
	got = v.await("e.example.com")
	require.Equal(t, "sender.example.com", got.Client)
	s := v.settled(refused.ID)
	require.Equal(t, relay.Dead, s.State)
	require.Equal(t, relay.ReasonUnauthorized, s.Reason, "a wrong token is its sender's matter: the circuit stays closed")
	v.foreman.SetRules()

	// A large one, which is stored beside the journal; Foreman knows no such path.
	large := v.message("default", []byte(strings.Repeat(v.marker, (3<<20)/len(v.marker))), v.passed(true))
	require.Equal(t, relay.Dead, v.settled(large.ID).State)
	v.report("default", "g.example.com", v.marker, nil)
	v.await("g.example.com")

	for _, id := range []string{first.ID, refused.ID, large.ID} {
		scan.text("message show", v.run("message", "show", id, "-o", "json"))
	}
	for _, id := range []string{refused.ID, large.ID} {
		scan.text("dlq show", v.run("dlq", "show", id, "-o", "json"))
	}
	scan.text("dlq ls", v.run("dlq", "ls", "-o", "json"))
	scan.text("dlq export", v.run("dlq", "export"))
	v.run("dlq", "replay", refused.ID)
	got = v.await("f.example.com")
	require.Equal(t, "sender.example.com", got.Client, "a replay has the credentials that were passed")
	harness.Audit(t, v.socket)
}

// secretScan looks for secrets in each of their spellings.
type secretScan struct {
	t      *testing.T
	forms  map[string][][]byte // by what it is
	count  bool                // count them instead of failing
	looked int
	found  int
}

// secret is looked for as it is, in base64 at each of the three places where it
// may begin in a longer text, in hexadecimal, and with percent signs.
func (s *secretScan) secret(name string, text []byte) {
	forms := [][]byte{text, []byte(hex.EncodeToString(text)), []byte(strings.ToUpper(hex.EncodeToString(text))), []byte(url.QueryEscape(string(text)))}
	for offset := range 3 {
		padded := append(bytes.Repeat([]byte{0}, offset), text...)
		padded = padded[:len(padded)/3*3]
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			begin := 0
			if offset > 0 {
				begin = 4 // these tell of what is before
			}
			forms = append(forms, []byte(e.EncodeToString(padded)[begin:]))
		}
	}
	s.forms[name] = forms
}

// keyOf looks for a private key: in PEM, and as its bytes.
func (s *secretScan) keyOf(path string) {
	text, err := os.ReadFile(path)
	require.NoError(s.t, err)
	block, _ := pem.Decode(text)
	require.NotNil(s.t, block)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	s.secret("a line of the key", []byte(lines[1]))
	s.secret("bytes of the key", block.Bytes[len(block.Bytes)/4:len(block.Bytes)/4+24])
}

// text looks in a text; every error names where and what, and not the secret.
func (s *secretScan) text(where, text string) { s.bytes(where, []byte(text)) }

func (s *secretScan) bytes(where string, text []byte) {
	s.looked += len(text)
	for name, forms := range s.forms {
		for i, form := range forms {
			if !bytes.Contains(text, form) {
				continue
			}
			s.found++
			if !s.count {
				s.t.Errorf("%s: the %s is there (spelling %d)", where, name, i)
			}
		}
	}
}

func (s *secretScan) dir(where, dir string) {
	s.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) { // a checkpoint that was replaced meanwhile
			return nil
		}
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		s.bytes(where+": "+rel, text)
		if !strings.HasPrefix(rel, "keys"+string(filepath.Separator)) {
			require.NotContains(s.t, string(text), "AGE-SECRET-KEY", "%s: %s: the keys are in one directory alone", where, rel)
		}
		return nil
	})
	require.NoError(s.t, err)
}

// everywhere looks at all that the relay has written and says.
func (s *secretScan) everywhere(v *vault) {
	s.t.Helper()
	for i, p := range append(v.drains, v.edge) {
		s.text(fmt.Sprint("log of process ", i), p.Log())
		require.Contains(s.t, p.Log(), "level", "the log is there")
		for _, name := range []string{"cmdline", "environ"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.Pid(), name))
			require.NoError(s.t, err)
			require.NotEmpty(s.t, text)
			s.bytes(fmt.Sprintf("%s of process %d", name, i), text)
		}
	}
	for _, path := range []string{"/metrics", "/admin/v1/config", "/admin/v1/queues", "/admin/v1/messages", "/admin/v1/dead-letters", "/admin/v1/storage"} {
		s.text("admin API "+path, v.admin(path))
	}
	out, errs, code := harness.Command(s.t, "config", "show", "--config", v.deliver[len(v.deliver)-3])
	require.Zero(s.t, code, errs)
	require.Contains(s.t, out, "acme.authorization")
	s.text("config show", out)
	s.dir("state of the edge", v.state)
	s.dir("state of who delivers", v.drain)
}

// admin asks the admin API.
func (v *vault) admin(path string) string {
	v.t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", v.socket)
	}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("http://relay" + path)
	require.NoError(v.t, err)
	defer func() { _ = resp.Body.Close() }() // only read
	text, err := io.ReadAll(resp.Body)
	require.NoError(v.t, err)
	require.Equal(v.t, http.StatusOK, resp.StatusCode, path)
	return string(text)
}
