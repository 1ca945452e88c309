package test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/test/harness"
)

// Whatever is wrong with a request: a problem that says what, and nothing is
// stored. Raw bytes over a real connection, against the real program.
func TestBadInputIsRefusedAndNothingStored(t *testing.T) {
	config := filepath.Join(t.TempDir(), "relay.yaml")
	require.NoError(t, os.WriteFile(config, []byte("limits:\n  max_body: 64KiB\n  body_timeout: 1s\n"), 0o600))
	f := startForm(t, false, "--config", config)
	bomb := gzipped(t, make([]byte, 10<<20))
	report := string(harness.Report("a.example.com", "2026-01-01 00:00:00 UTC"))
	const js = "Content-Type: application/json\r\n"
	type request struct {
		path, headers, body string
		status              int
		code                relay.Code
		says                string
	}
	length := func(body string) string { return fmt.Sprintf("Content-Length: %d\r\n", len(body)) }
	with := func(path, headers, body string, status int, code relay.Code, says string) request {
		return request{path, headers + length(body), body, status, code, says}
	}
	for name, r := range map[string]request{
		"oversized by its length":   {"/api/config_reports", js + "Content-Length: 1000000\r\n", "", 413, relay.CodeTooLarge, "65536 bytes"},
		"oversized in chunks":       {"/api/config_reports", js + "Transfer-Encoding: chunked\r\n", "20000\r\n" + strings.Repeat("x", 0x20000) + "\r\n0\r\n\r\n", 413, relay.CodeTooLarge, "65536 bytes"},
		"a gzip bomb":               with("/api/config_reports", js+"Content-Encoding: gzip\r\n", string(bomb), 413, relay.CodeTooLarge, "65536 bytes"),
		"no gzip at all":            with("/api/config_reports", js+"Content-Encoding: gzip\r\n", report, 400, relay.CodeMalformed, "gzip"),
		"truncated gzip":            with("/api/config_reports", js+"Content-Encoding: gzip\r\n", string(gzipped(t, []byte(report))[:40]), 400, relay.CodeMalformed, ""),
		"an encoding nobody knows":  with("/api/config_reports", js+"Content-Encoding: br\r\n", report, 415, relay.CodeUnsupportedMediaType, "gzip"),
		"a wrong type":              with("/api/config_reports", "Content-Type: text/xml\r\n", report, 415, relay.CodeUnsupportedMediaType, "application/json"),
		"no type":                   with("/api/config_reports", "", report, 415, relay.CodeUnsupportedMediaType, "application/json"),
		"invalid JSON":              with("/api/config_reports", js, report[:40], 400, relay.CodeMalformed, "JSON"),
		"trailing garbage":          with("/api/config_reports", js, report+"x", 400, relay.CodeMalformed, "JSON"),
		"an empty body":             with("/api/config_reports", js, "", 400, relay.CodeMalformed, "JSON"),
		"no host":                   with("/api/config_reports", js, `{"config_report":{"reported_at":"2026-01-01 00:00:00 UTC"}}`, 422, relay.CodeInvalid, "/config_report/host"),
		"an unreadable reported_at": with("/api/config_reports", js, string(harness.Report("a", "yesterday")), 422, relay.CodeInvalid, "/config_report/reported_at"),
		"facts without a name":      with("/api/hosts/facts", js, `{"facts":{}}`, 422, relay.CodeInvalid, "/name"),
		"an unknown queue":          with("/relay/v1/queues/acme/foreman/messages", js, `{}`, 404, relay.CodeNotFound, "acme/foreman"),
		"an unknown destination":    with("/relay/v1/queues/default/elsewhere/messages", js, `{}`, 404, relay.CodeNotFound, "default/elsewhere"),
		"an unknown path":           with("/api/nothing", js, `{}`, 404, relay.CodeNotFound, ""),
		"an empty key":              with("/api/config_reports", js+"Idempotency-Key: \r\n", report, 400, relay.CodeMalformed, "Idempotency-Key"),
		"two keys":                  with("/api/config_reports", js+"Idempotency-Key: a\r\nIdempotency-Key: b\r\n", report, 400, relay.CodeMalformed, "Idempotency-Key"),
		"a key that is too long":    with("/api/config_reports", js+"Idempotency-Key: "+strings.Repeat("k", 256)+"\r\n", report, 400, relay.CodeMalformed, "255"),
		"a key that is no text":     with("/api/config_reports", js+"Idempotency-Key: \xff\xfe\r\n", report, 400, relay.CodeMalformed, "printable"),
		"an unknown route":          with("/relay/v1/queues/default/foreman/messages", js+"Relay-Route: nothing\r\n", `{}`, 422, relay.CodeInvalid, "Relay-Route"),
		"a slow body":               {"/api/config_reports", js + "Content-Length: 500\r\n", "{", 408, relay.CodeTimeout, "time"},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := raw(t, f.url, "POST "+r.path+" HTTP/1.1\r\nHost: relay\r\n"+r.headers+"Connection: close\r\n\r\n"+r.body)
			require.Equal(t, r.status, status, answer)
			var p handlers.Problem
			require.NoError(t, json.Unmarshal([]byte(answer), &p), answer)
			require.Equal(t, []any{"urn:foreman-relay:problem:" + string(r.code), r.status}, []any{p.Type, p.Status})
			require.Contains(t, fmt.Sprint(p.Detail, p.Violations), r.says)
			require.NotEmpty(t, p.Detail)
		})
	}
	t.Run("a body that ends in the middle", func(t *testing.T) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
		require.NoError(t, err)
		_, err = io.WriteString(conn, "POST /api/config_reports HTTP/1.1\r\nHost: relay\r\n"+js+"Content-Length: 500\r\n\r\n"+report[:50])
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	})
	s := harness.Queues(t, f.socket)
	require.Len(t, s, 1, "no queue was made")
	require.Zero(t, s[0].Accepted)
	require.Empty(t, f.foreman.Requests())
	status, _ := raw(t, f.url, "POST /api/config_reports HTTP/1.1\r\nHost: relay\r\n"+js+"Content-Encoding: gzip\r\n"+
		length(string(gzipped(t, []byte(report))))+"Connection: close\r\n\r\n"+string(gzipped(t, []byte(report))))
	require.Equal(t, 201, status, "gzip within the limit is taken, and stored as it was meant")
	require.Equal(t, report, string(f.awaitRequests(1, 10*time.Second)[0].Body))
}

func gzipped(t *testing.T, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(body)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

// raw sends bytes and returns status and body of the answer.
func raw(t *testing.T, url, request string) (int, string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(conn, request) // the other side may answer before it has all
	}()
	answer, err := io.ReadAll(conn)
	if len(answer) == 0 {
		require.NoError(t, err)
	}
	_ = conn.Close()
	<-sent
	head, body, _ := strings.Cut(string(answer), "\r\n\r\n")
	var status int
	_, err = fmt.Sscanf(head, "HTTP/1.1 %d", &status)
	require.NoError(t, err, string(answer))
	return status, body
}

// What a newcomer does wrong is told in a way that mends it.
func TestStartsThatCannotBe(t *testing.T) {
	f := startForm(t, false)
	state := filepath.Dir(f.socket)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("listen: 127.0.0.1:0\nlimits:\n  qouta: 1GiB\n"), 0o600))
	other := filepath.Join(t.TempDir(), "other")
	for name, c := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"a second one on the same directory": {[]string{"--state-dir", state, "--listen", "127.0.0.1:0"}, 1, []string{"in use", fmt.Sprint("process ", f.edge.Pid()), "--state-dir"}},
		"a port in use":                      {[]string{"--state-dir", other, "--listen", strings.TrimPrefix(f.url, "http://")}, 1, []string{"in use", "--listen"}},
		"a file in the directory's place":    {[]string{"--state-dir", file, "--listen", "127.0.0.1:0"}, 1, []string{file, "--state-dir"}},
		"a directory that cannot be made":    {[]string{"--state-dir", "/proc/relay", "--listen", "127.0.0.1:0"}, 1, []string{"/proc/relay", "--state-dir"}},
		"a bad key in the file":              {[]string{"--config", file}, 2, []string{file + ":3", "qouta", "quota"}},
		"a file that is not there":           {[]string{"--config", file + ".yaml"}, 2, []string{"file.yaml"}},
		"an address for everybody":           {[]string{"--state-dir", other, "--listen", "0.0.0.0:0"}, 2, []string{"tls", "--tls-cert"}},
		"a mode nobody knows":                {[]string{"--state-dir", other, "--durability", "fast"}, 2, []string{"fsync-always", "os"}},
		"no fsync on a memory disk":          {[]string{"--state-dir", "/dev/shm/relay-test", "--listen", "127.0.0.1:0"}, 1, []string{"tmpfs", "--durability os"}},
		"a socket path too long":             {[]string{"--state-dir", other, "--listen", "127.0.0.1:0", "--admin-socket", "/tmp/" + strings.Repeat("x", 120)}, 1, []string{"--admin-socket", "107"}},
		"a password in Foreman's URL":        {[]string{"--state-dir", other, "--listen", "127.0.0.1:0", "--foreman-url", "https://admin:secret@f.example.com"}, 2, []string{"certificate"}},
		"a flag nobody knows":                {[]string{"--fast"}, 2, []string{"--fast", "--help"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs, code := harness.Command(t, append([]string{"serve"}, c.args...)...)
			require.Equal(t, c.code, code, errs)
			for _, s := range c.says {
				require.Contains(t, errs, s)
			}
			require.NotContains(t, errs, "secret")
		})
	}
	_ = os.RemoveAll("/dev/shm/relay-test") // made by the lock before the filesystem was looked at
}
