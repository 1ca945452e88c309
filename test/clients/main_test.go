// Package clients runs the real clients of Foreman, as Debian 12 packages them,
// against the real relay: `make clients`. What each of them is told, and how it
// is pointed at the relay, is in docs/clients.md.
package clients

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/theforeman/foreman-relay/test/harness"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, harness.Lingering(), goleak.Cleanup(func(code int) {
		harness.Clean()
		os.Exit(code)
	}))
}
