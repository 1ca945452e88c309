package foreman

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

const nodeYAML = "---\nclasses: {}\nparameters:\n  secret: sesame\n"

// passNamed is one of the passes, with small bounds.
func passNamed(t *testing.T, name string) relay.Pass {
	t.Helper()
	for _, p := range Passes(PassLimits{NodeTimeout: 10 * time.Second, Timeout: 10 * time.Second, MaxBody: 100, MaxNode: 100, MaxAnswer: 200}) {
		if p.Name == name {
			return p
		}
	}
	require.Failf(t, "there is no such pass", "%s", name)
	return relay.Pass{}
}

func asking(path string) relay.PassRequest {
	return relay.PassRequest{Method: http.MethodGet, Path: path, Header: http.Header{"Accept": {"*/*"}}, Client: "192.0.2.7"}
}

// passed asks, and reads the answer to its end.
func passed(t *testing.T, c *Client, p relay.Pass, r relay.PassRequest) (*relay.PassAnswer, string, error) {
	t.Helper()
	a, err := c.Pass(t.Context(), p, r)
	if err != nil {
		require.Equal(t, relay.CodeAway, relay.CodeOf(err))
		require.NotContains(t, err.Error(), "sesame", "an error holds nothing of an answer")
		require.NotContains(t, err.Error(), "token", "nor of a query")
		return nil, "", err
	}
	body, err := io.ReadAll(a.Body)
	require.NoError(t, a.Body.Close())
	return a, string(body), err
}

// answering is a server that gives one answer; headers come in pairs.
func answering(t *testing.T, status int, body string, headers ...string) *httptest.Server {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil // no guess of the server's
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// A 2xx is passed on when it is surely what was asked for, and Foreman's; any
// other answer of Foreman's as it is.
func TestWhatIsPassedOn(t *testing.T) {
	const plain, page, xml, sh = "text/plain; charset=utf-8", "text/html", "application/xml", "echo hello\n"
	version := []string{"Foreman_version", "3.13.0", "Content-Type"}
	with := func(media string) []string { return append(version[:3:3], media) }
	refused := registration.Refused
	for name, c := range map[string]struct {
		pass    string
		status  int
		body    string
		headers []string
		want    string // the body that is passed on
		away    string // or why not
	}{
		"a node":                          {"node", 200, nodeYAML, []string{"Content-Type", plain}, nodeYAML, ""},
		"a node of Salt's, as YAML":       {"salt_node", 200, nodeYAML, []string{"Content-Type", "application/x-yaml"}, nodeYAML, ""},
		"a node in a page":                {"node", 200, nodeYAML, []string{"Content-Type", page}, "", "is a page"},
		"a node in a bad type":            {"node", 200, nodeYAML, []string{"Content-Type", "text/"}, "", "is a page"},
		"a node without a type":           {"node", 200, nodeYAML, nil, "", "is a page"},
		"a node in JSON":                  {"node", 200, nodeYAML, []string{"Content-Type", "application/json"}, "", `the type "application/json"`},
		"a maintenance page":              {"node", 200, "<html>", []string{"Content-Type", page}, "", "is a page"},
		"one that says it is text":        {"node", 200, "Down: maintenance", []string{"Content-Type", plain}, "", "neither classes nor parameters"},
		"a node with 201":                 {"node", 201, nodeYAML, []string{"Content-Type", plain}, "", "status 201, not 200"},
		"a compressed node":               {"node", 200, nodeYAML, []string{"Content-Type", plain, "Content-Encoding", "gzip"}, "", "encoded"},
		"no such node":                    {"node", 404, "<html>no", []string{"Content-Type", page}, "<html>no", ""},
		"not let in":                      {"node", 403, `{"error":"x"}`, []string{"Content-Type", "application/json"}, `{"error":"x"}`, ""},
		"a failure of Foreman's":          {"node", 500, "oops", with(plain), "oops", ""},
		"a gateway without Foreman":       {"node", 503, "<html>", []string{"Content-Type", page}, "", "what stands before it says 503"},
		"a gateway that lost Foreman":     {"unattended", 502, "<html>", []string{"Content-Type", page}, "", "what stands before it says 502"},
		"pending migrations":              {"scap_content", 503, `{"message":"x"}`, with("application/json"), `{"message":"x"}`, ""},
		"a redirect":                      {"node", 302, "", []string{"Location", "/users/login?token=x"}, "", "redirects are not followed"},
		"a script":                        {"register", 200, sh, with(plain), sh, ""},
		"a script of somebody's":          {"register", 200, sh, []string{"Content-Type", plain}, "", "not Foreman: no version header"},
		"a page for a script":             {"register", 200, sh, with(page), "", "is a page"},
		"JSON for a script":               {"register", 200, sh, with("application/json"), "", `the type "application/json"`},
		"a refusal that can be run":       {"register", 404, "exit 1\n", with(plain), "exit 1\n", ""},
		"one that is JSON":                {"register", 401, `{"a":"$(reboot)"}`, with("application/json"), refused, ""},
		"one that is a page":              {"register", 500, "<html>", []string{"Content-Type", page}, refused, ""},
		"one that is somebody's":          {"register", 404, "reboot", []string{"Content-Type", plain}, refused, ""},
		"a template":                      {"unattended", 200, "d-i x", []string{"Content-Type", plain}, "d-i x", ""},
		"a page for a template":           {"unattended", 200, "<html>", []string{"Content-Type", page}, "", "is a page"},
		"SCAP content":                    {"scap_content", 200, "<xml/>", with(xml), "<xml/>", ""},
		"SCAP content of somebody's":      {"scap_tailoring", 200, "<xml/>", []string{"Content-Type", xml}, "", "no version header"},
		"a page for SCAP content":         {"scap_content", 200, "<html>", with(page), "", "is a page"},
		"no such policy":                  {"scap_content", 404, `{}`, with("application/json"), "{}", ""},
		"an autosign, nothing to be said": {"salt_autosign", 204, "", []string{"Foreman_version", "3.13.0"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a, body, err := passed(t, client(t, answering(t, c.status, c.body, c.headers...).URL), passNamed(t, c.pass), asking("/x?token=1"))
			if c.away != "" {
				require.ErrorContains(t, err, c.away)
				return
			}
			require.NoError(t, err)
			require.Equal(t, []any{c.status, c.want}, []any{a.Status, body})
			if c.want == refused {
				require.Equal(t, plain, a.Header.Get("Content-Type"))
			}
		})
	}
}

func TestHeadersOfAPass(t *testing.T) {
	var got http.Header
	var url string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got, url = r.Header.Clone(), r.RequestURI
		for name, value := range map[string]string{"Content-Type": "text/plain", "Etag": `"1"`, "Last-Modified": "x", "Content-Disposition": "attachment",
			"Set-Cookie": "_session_id=1", "Server": "Apache", "Location": "/x"} {
			w.Header().Set(name, value)
		}
		_, _ = io.WriteString(w, nodeYAML)
	})
	r := asking("/node/a.example.com?format=yml")
	r.Header.Set("X-Forwarded-For", "203.0.113.1")
	a, _, err := passed(t, client(t, s.URL+"/sub"), passNamed(t, "node"), r)
	require.NoError(t, err)
	require.Equal(t, "/sub/node/a.example.com?format=yml", url)
	require.Equal(t, http.Header{"Accept": {"*/*"}, "X-Forwarded-For": {"192.0.2.7"}, "User-Agent": {"test/1"}}, got)
	require.Equal(t, http.Header{"Content-Type": {"text/plain"}, "Etag": {`"1"`}, "Last-Modified": {"x"}, "Content-Disposition": {"attachment"}}, a.Header)
	require.EqualValues(t, len(nodeYAML), a.Length)

	_, _, err = passed(t, client(t, s.URL), passNamed(t, "node"), asking("/node/../admin?token=x"))
	require.ErrorContains(t, err, "cannot be passed on")
}

// Said before by Content-Length or found out: what is too large is not passed on
// whole, and ends a stream.
func TestAnswersThatAreTooLarge(t *testing.T) {
	sized := func(t *testing.T, n int, chunked bool, status int) *httptest.Server {
		return serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Foreman_version", "3")
			if !chunked {
				w.Header().Set("Content-Length", strconv.Itoa(n))
			}
			w.WriteHeader(status)
			if chunked {
				_ = http.NewResponseController(w).Flush()
			}
			for range n {
				if _, err := io.WriteString(w, "x"); err != nil {
					return
				}
			}
		})
	}
	for _, c := range []struct {
		pass    string
		n       int
		chunked bool
		status  int
		want    string
	}{
		{"unattended", 100, false, 200, ""}, {"unattended", 100, true, 200, ""},
		{"unattended", 101, false, 200, "101 bytes, more than the 100"}, {"unattended", 101, true, 200, "did not come whole"},
		{"scap_content", 200, false, 200, ""}, {"scap_content", 200, true, 200, ""},
		{"scap_content", 201, false, 200, "201 bytes, more than the 200"}, {"scap_content", 201, true, 200, "larger than what is passed on"},
		{"unattended", 101, true, 500, "did not come whole"},
	} {
		_, body, err := passed(t, client(t, sized(t, c.n, c.chunked, c.status).URL), passNamed(t, c.pass), asking("/x"))
		if c.want == "" {
			require.NoError(t, err)
			require.Len(t, body, c.n)
			continue
		}
		require.ErrorContains(t, err, c.want, "%+v", c)
		require.LessOrEqual(t, len(body), 200)
	}
	p := passNamed(t, "scap_content")
	p.MaxAnswer = 64 << 20
	_, _, err := passed(t, client(t, sized(t, maxRefusal+1, false, 404).URL), p, asking("/x"))
	require.ErrorContains(t, err, "more than the 1048576", "what is no success is read into memory")
}

func TestAnAnswerThatBreaksOff(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Foreman_version", "3")
		w.Header().Set("Content-Length", "90")
		_, _ = io.WriteString(w, nodeYAML)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	for _, name := range []string{"node", "register", "unattended"} {
		_, _, err := passed(t, client(t, s.URL), passNamed(t, name), asking("/x"))
		require.ErrorContains(t, err, "did not come whole", name)
	}
	_, body, err := passed(t, client(t, s.URL), passNamed(t, "scap_content"), asking("/x"))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, nodeYAML, body)
}

// The time is for all of it: until the answer begins, and until it ends.
func TestAPassEndsInTime(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begun" {
			w.Header().Set("Content-Type", "application/xml")
			w.Header().Set("Foreman_version", "3")
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	})
	for path, want := range map[string]string{"/silent": "Foreman does not answer", "/begun": "deadline exceeded"} {
		p := passNamed(t, "scap_content")
		p.Timeout = 50 * time.Millisecond
		_, _, err := passed(t, client(t, s.URL), p, asking(path))
		require.ErrorContains(t, err, want)
	}
}

// holding is a server that answers when it is told; entered gets one for each
// request.
func holding(t *testing.T) (s *httptest.Server, entered chan struct{}, release func()) {
	t.Helper()
	entered, hold := make(chan struct{}, 100), make(chan struct{})
	release = sync.OnceFunc(func() { close(hold) })
	s = serve(t, func(w http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-hold
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Foreman_version", "3")
		_, _ = io.WriteString(w, nodeYAML)
	})
	t.Cleanup(release)
	return s, entered, release
}

func TestPlacesOfPasses(t *testing.T) {
	s, entered, release := holding(t)
	c := client(t, s.URL)
	c.passing = newPassing(4)
	stream, whole := passNamed(t, "scap_content"), passNamed(t, "node")
	var streams []*relay.PassAnswer
	var wg sync.WaitGroup
	var mu sync.Mutex
	begin := func(p relay.Pass, n int) {
		for range n {
			wg.Go(func() {
				a, err := c.Pass(context.Background(), p, asking("/x"))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if !p.Whole {
					streams = append(streams, a)
				}
			})
			<-entered
		}
	}
	busy := func(p relay.Pass) {
		t.Helper()
		_, err := c.Pass(t.Context(), p, asking("/x"))
		require.ErrorIs(t, err, relay.ErrBusy)
		var e *relay.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, []any{relay.CodeAway, time.Second}, []any{e.Code, e.RetryAfter})
	}
	begin(stream, 2)
	busy(stream) // half of the places
	begin(whole, 2)
	busy(whole)
	busy(stream)
	require.Equal(t, relay.ClassUnavailable, deliverFor(t, c, 50*time.Millisecond).Class, "a delivery needs no place: it gets to Foreman")
	<-entered
	release()
	wg.Wait()

	busy(stream) // a stream keeps its place until it is read
	for _, a := range streams {
		require.NoError(t, a.Body.Close())
		require.NoError(t, a.Body.Close(), "twice gives back one place")
	}
	noneTaken(t, c)
	_, _, err := passed(t, c, whole, asking("/x"))
	require.NoError(t, err)
}

func noneTaken(t *testing.T, c *Client) {
	t.Helper()
	all, streams := c.passing.places.Taken()
	require.Zero(t, all)
	require.Zero(t, streams)
}

func deliverFor(t *testing.T, c *Client, timeout time.Duration) relay.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return c.Deliver(ctx, message())
}

// After a connection that could not be made nobody waits for another for a
// while; then one caller tries.
func TestNobodyIsAskedRightAfterNobodyWasThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	c := client(t, "http://"+l.Addr().String())
	p := passNamed(t, "node")
	_, _, err = passed(t, c, p, asking("/x?token=1"))
	require.ErrorContains(t, err, "Foreman does not answer")
	require.ErrorContains(t, err, "refused")
	_, _, err = passed(t, c, p, asking("/x"))
	require.ErrorContains(t, err, "could not be reached a moment ago")
	noneTaken(t, c)

	c.passing.reach = circuitbreaker.NewBuilder[any]().WithFailureThreshold(1).WithDelay(time.Nanosecond).Build()
	for range 2 {
		_, _, err = passed(t, c, p, asking("/x"))
		require.ErrorContains(t, err, "Foreman does not answer", "tried again")
	}
}

// Neither an answer that does not come nor a caller that goes away is a reason
// to ask nobody.
func TestWhatKeepsTheWayOpen(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/silent" {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, nodeYAML)
	})
	c := client(t, s.URL)
	p := passNamed(t, "node")
	p.Timeout = 50 * time.Millisecond
	_, _, err := passed(t, c, p, asking("/silent"))
	require.ErrorContains(t, err, "does not answer")
	p.Timeout = 10 * time.Second

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Pass(ctx, p, asking("/x"))
	require.Error(t, err)
	_, body, err := passed(t, c, p, asking("/x"))
	require.NoError(t, err)
	require.Equal(t, nodeYAML, body)
}

// Every pass has all its bounds, and a name and paths of its own.
func TestPasses(t *testing.T) {
	names, paths := map[string]bool{}, map[string]bool{}
	for _, p := range Passes(DefaultPassLimits()) {
		require.False(t, names[p.Name], p.Name)
		names[p.Name] = true
		require.NotEmpty(t, p.Methods, p.Name)
		for _, path := range p.Paths {
			require.False(t, paths[path], path)
			paths[path] = true
		}
		require.Positive(t, p.Timeout, p.Name)
		require.Positive(t, p.MaxBody, p.Name)
		require.Positive(t, p.MaxAnswer, p.Name)
		if p.Keep {
			require.True(t, p.Whole && p.Check != nil, "only a good answer is kept: %s", p.Name)
			require.Less(t, p.Timeout, 10*time.Second, "the ENC gives up then")
		}
		if p.Script != nil {
			require.True(t, p.Whole, "half a script must not be run")
			for _, text := range []string{p.Script.Away, p.Script.Refused} {
				require.True(t, strings.HasSuffix(text, "\nexit 1\n"))
				require.NotContains(t, text, "%", "it is constant")
			}
		}
		require.False(t, p.Credentials && p.Trusted, "%s: a token or a certificate", p.Name)
	}
	require.Len(t, names, 7)
}

func TestBoundedClosesOnce(t *testing.T) {
	ends := 0
	b := &bounded{src: io.NopCloser(strings.NewReader("abc")), left: 2, end: func() { ends++ }}
	got, err := io.ReadAll(b)
	require.True(t, errors.Is(err, errTooLarge))
	require.Equal(t, "ab", string(got))
	_, err = b.Read(make([]byte, 1))
	require.ErrorIs(t, err, errTooLarge)
	require.NoError(t, b.Close())
	require.NoError(t, b.Close())
	require.Equal(t, 1, ends)
}
