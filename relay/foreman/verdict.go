package foreman

import (
	"net/http"
	"strings"

	"github.com/theforeman/foreman-relay/relay"
)

// verdict is what is particular to the answers that a route's messages get;
// docs/destinations.md tells it in words.
type verdict struct {
	// later are parts of a 422's text, in lower case, that are not for ever; an
	// empty one is in every text.
	later []string
	// plain: the answer is no API's, has no version header, and its status says
	// all.
	plain bool
}

// verdicts by route; a route without one is judged as Classify says.
var verdicts = map[string]verdict{
	"facts": {later: []string{"host is pending for build"}},
	// Whatever goes wrong in the plugin is a 422, a database that is down too.
	"hostreport": {later: []string{""}},
	"puppet":     {later: []string{""}},
	"ansible":    {later: []string{""}},
	// What is not known yet: a policy, a host, a registered proxy.
	"arf":       {later: arfLater},
	"arfreport": {later: arfLater},
	"built":     {plain: true},
	"failed":    {plain: true},
}

var arfLater = []string{"not found", "could not find host", "no proxy found"}

// unattended judges an answer of Foreman's provisioning: 201 and nothing else is
// a success, 405 says that the host is in build mode no more, 409 that the
// change was not saved. They have no body or a plain one: a page is something
// else's.
func unattended(r relay.Result, a relay.Answer) relay.Result {
	isPage := len(a.Body) > 0 && strings.HasPrefix(strings.ToLower(a.Header.Get("Content-Type")), "text/html")
	switch {
	case r.Class == relay.ClassDenied, a.Status == http.StatusRequestEntityTooLarge:
	case a.Status >= 200 && a.Status <= 299 && a.Status != http.StatusCreated,
		a.Status >= 300 && a.Status <= 399,
		a.Status >= 200 && a.Status <= 499 && isPage:
		return notForeman(r)
	case a.Status == http.StatusMethodNotAllowed:
		r.Class, r.Reason, r.Detail = relay.ClassAlready, relay.ReasonAlreadyThere, ""
	case a.Status == http.StatusConflict:
		r.Class, r.Reason = relay.ClassTransient, relay.ReasonServerError
	}
	return r
}
