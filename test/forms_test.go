package test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	standin "github.com/theforeman/foreman-relay/test/foreman"
	"github.com/theforeman/foreman-relay/test/harness"
)

// form is the relay in one of its two process forms, with its stand-in.
type form struct {
	t       *testing.T
	foreman *standin.Server
	state   string
	url     string
	socket  string
	edge    *harness.Process
	drains  []*harness.Process // none in the one-process form
	certs   string
	broker  string
}

// inBothForms runs a test for the one-process and for the two-process form.
func inBothForms(t *testing.T, f func(t *testing.T, start func(args ...string) *form)) {
	for name, far := range map[string]bool{"one process": false, "two processes": true} {
		t.Run(name, func(t *testing.T) {
			f(t, func(args ...string) *form { return startForm(t, far, args...) })
		})
	}
}

// startForm starts stand-in, edge and drain. args are for whoever delivers.
func startForm(t *testing.T, far bool, args ...string) *form {
	t.Helper()
	f := newForm(t, filepath.Join(t.TempDir(), "state"))
	f.start(far, args...)
	return f
}

// newForm starts the stand-in; state is where the edge will keep its state.
func newForm(t *testing.T, state string) *form {
	t.Helper()
	f := &form{t: t, foreman: standin.New(), state: state}
	require.NoError(t, f.foreman.Start("127.0.0.1:0"))
	t.Cleanup(f.foreman.Stop)
	return f
}

// start starts edge and drain.
func (f *form) start(far bool, args ...string) {
	f.t.Helper()
	if far {
		f.startFarEdge()
		f.startDrain(args...)
		return
	}
	f.edge = harness.Start(f.t, append(append(f.serve(), "--foreman-url", f.foreman.URL()), args...)...)
	f.awaitReady()
}

// serve are the arguments of both forms' edge.
func (f *form) serve() []string {
	address := harness.FreeAddress(f.t)
	f.url, f.socket = "http://"+address, filepath.Join(f.state, "admin.sock")
	return []string{"serve", "--listen", address, "--state-dir", f.state, "--log-level", "warn"}
}

// startFarEdge starts an edge that drains dial in to; args are for it.
func (f *form) startFarEdge(args ...string) {
	f.t.Helper()
	f.certs, f.broker = filepath.Join(f.t.TempDir(), "pki"), harness.FreeAddress(f.t)
	_, errs, code := harness.Command(f.t, "pki", "init", f.certs)
	require.Zero(f.t, code, errs)
	f.edge = harness.Start(f.t, slices.Concat(f.serve(), []string{"--broker-listen", f.broker, "--broker-cert", f.cert("edge.crt"),
		"--broker-key", f.cert("edge.key"), "--broker-client-ca", f.cert("ca.crt")}, args)...)
	f.awaitReady()
}

func (f *form) cert(name string) string { return filepath.Join(f.certs, name) }

// startDrain starts one more far drain.
func (f *form) startDrain(args ...string) *harness.Process {
	f.t.Helper()
	p := harness.Start(f.t, append([]string{"drain", "--broker", "tls://" + f.broker, "--broker-ca", f.cert("ca.crt"),
		"--broker-cert", f.cert("drain.crt"), "--broker-key", f.cert("drain.key"), "--foreman-url", f.foreman.URL(),
		"--state-dir", filepath.Join(f.t.TempDir(), fmt.Sprint("drain", len(f.drains))), "--log-level", "warn"}, args...)...)
	f.drains = append(f.drains, p)
	return p
}

// awaitReady waits until the edge takes requests.
func (f *form) awaitReady() {
	f.t.Helper()
	client := &http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		resp, err := client.Get(f.url + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(20 * time.Millisecond) // another process: there is no signal to wait for
	}
	require.Fail(f.t, "the edge is not ready", f.edge.Log())
}

// verify holds what the stand-in counted against what was answered: everything,
// once, in order. More may have been counted than was answered: a sender whose
// answer was lost does not know.
func (f *form) verify(answered map[string][]string) {
	f.t.Helper()
	counted := f.foreman.Reports()
	for host, want := range answered {
		got := counted[host]
		require.IsIncreasing(f.t, got, "order of %s", host) // also: none twice
		require.Subset(f.t, got, want, "answered reports of %s", host)
	}
	require.LessOrEqual(f.t, f.foreman.Stats().Together, 2, "attempts for one host at one time") // 2: a killed attempt may still be answered
}
