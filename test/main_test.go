// Package test runs the whole program against a stand-in for Foreman: real
// processes, real JetStream, real TLS, real SIGKILL.
package test

import (
	"os"
	"testing"

	"github.com/theforeman/foreman-relay/test/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Clean()
	os.Exit(code)
}
