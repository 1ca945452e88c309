package foreman

import (
	"net/http"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// PassLimits bound what is passed on to Foreman.
type PassLimits struct {
	NodeTimeout time.Duration // of a node's answer
	Timeout     time.Duration // of all else
	MaxBody     int64         // bytes of a registration; other requests have next to no body
	MaxNode     int64         // bytes of an answer that is passed on whole: nodes, scripts, templates
	MaxAnswer   int64         // bytes of one that is streamed: SCAP content
}

// DefaultPassLimits suit Foreman's clients. The ENC script gives up after 10 s,
// in which it may upload facts too (files/enc.rb), and has its own cache to fall
// back on: it must be told in time. Puppet's nodes and Foreman's templates have
// some ten kilobytes; SCAP content of a distribution has some ten megabytes.
func DefaultPassLimits() PassLimits {
	return PassLimits{NodeTimeout: 8 * time.Second, Timeout: 30 * time.Second, MaxBody: 1 << 20, MaxNode: 1 << 20, MaxAnswer: 64 << 20}
}

// maxSmallBody bounds requests that have no body to speak of, in bytes.
const maxSmallBody = 64 << 10

// Passes lists the requests that only Foreman can answer.
func Passes(l PassLimits) []relay.Pass {
	get := []string{http.MethodGet}
	node := relay.Pass{Methods: get, Timeout: l.NodeTimeout, MaxBody: maxSmallBody, MaxAnswer: l.MaxNode, Whole: true, Check: checkNode,
		Media: []string{"text/plain", "application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"}, Keep: true, Trusted: true, Secret: true}
	puppet, salt := node, node
	puppet.Name, puppet.Paths = "node", []string{"/node/:name"}
	salt.Name, salt.Paths = "salt_node", []string{"/salt/node/:minion"}

	scap := relay.Pass{Methods: get, Timeout: l.Timeout, MaxBody: maxSmallBody, MaxAnswer: l.MaxAnswer, Versioned: true, Trusted: true}
	content, tailoring := scap, scap
	content.Name, content.Paths = "scap_content", []string{"/compliance/policies/:id/content/:digest"}
	content.Target = "/api/v2/compliance/policies/:id/content"
	tailoring.Name, tailoring.Paths = "scap_tailoring", []string{"/compliance/policies/:id/tailoring/:digest"}
	tailoring.Target = "/api/v2/compliance/policies/:id/tailoring"

	return []relay.Pass{
		puppet, salt, content, tailoring,
		{
			Name: "register", Methods: []string{http.MethodGet, http.MethodPost}, Paths: []string{"/register"},
			Timeout: l.Timeout, MaxBody: l.MaxBody, MaxAnswer: l.MaxNode, Whole: true, // half a script must not be run
			Media: []string{"text/plain"}, Versioned: true, Credentials: true, Script: &registration,
		},
		{
			Name: "unattended", Methods: get, Paths: []string{"/unattended/:kind"}, Except: []string{"built", "failed"}, // these are stored
			Timeout: l.Timeout, MaxBody: maxSmallBody, MaxAnswer: l.MaxNode, Whole: true,
		},
		{
			Name: "salt_autosign", Methods: []string{http.MethodPut}, Paths: []string{"/salt/api/v2/salt_autosign_auth"},
			Timeout: l.Timeout, MaxBody: maxSmallBody, MaxAnswer: l.MaxNode, Whole: true, Versioned: true, Trusted: true, Secret: true,
		},
	}
}

// registration is for `curl … | bash`, which runs an error page too.
var registration = relay.Script{
	Away: "echo 'foreman-relay: Foreman cannot be asked at the moment, so that this host is not registered. Try again later.'\nexit 1\n",
	Refused: "echo 'foreman-relay: this registration was refused, by Foreman or by the relay before it, and this host is not registered.'\n" +
		"echo 'The cause is in their logs.'\nexit 1\n",
}
