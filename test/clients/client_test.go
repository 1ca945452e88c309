package clients

import (
	"strings"
	"testing"

	standin "github.com/theforeman/foreman-relay/test/foreman"
)

// client is one real program that reports to Foreman.
type client struct {
	needs []file
	tls   bool // tested over TLS, with a client certificate
	// prepare makes what the program wants to find in its sandbox.
	prepare func(box *sandbox)
	// run has the program do something that is called mark, and report it to
	// Foreman at the URL. What it printed, and its exit code.
	run  func(box *sandbox, url, mark string) (printed string, code int)
	lost lost
	// delivers are the requests that one run becomes at Foreman, in order.
	delivers []delivery
}

// delivery is one request at Foreman, and what must be true of it.
type delivery struct {
	path   string
	check  func(t *testing.T, r standin.Request)
	latest bool // that of a later run may come in its place
}

var clients = map[string]client{
	"puppet":        puppet,
	"ansible":       ansible,
	"ansible-proxy": ansibleProxy,
}

// lost are the words with which a program says that it could not send a report.
type lost struct {
	away    string // to a Foreman that takes no connection
	refused string // because of the answer
}

// in finds the words in what was printed, whatever the line breaks: Ansible
// makes them where it likes.
func in(printed, words string) bool {
	return strings.Contains(strings.Join(strings.Fields(printed), " "), words)
}
