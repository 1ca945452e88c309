package foreman

import (
	"net/http"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

const (
	// builtAge is Foreman's token_duration: afterwards no token is known.
	builtAge = 6 * time.Hour
	// maxFailed is how much of an installer's complaint Foreman takes, in bytes.
	maxFailed = 65535
)

// unattendedRoutes take what an installer says at its end. Foreman knows the
// host by the token, the MAC addresses or the address that it came from, so all
// three travel. The smart proxy's template module wants 200 or 201.
func unattendedRoutes(p relay.Policy) []relay.Route {
	route := func(name, method string) relay.Route {
		r := relay.Route{Name: name, Method: method, Paths: []string{"/unattended/" + name}, MaxBody: maxFailed,
			Keep: []string{"X-Rhn-Provisioning-Mac-*"}, ClientAddress: true, Anonymous: true,
			Reply: relay.Reply{Status: http.StatusCreated}, Policy: p.Expiring(builtAge)}
		r.Lane.From = []relay.Source{relay.SecretQuery("token"), relay.Address()}
		// A token is of one installation; an address is built again and again.
		r.Key = relay.KeyRule{Type: name, From: []relay.Source{relay.SecretQuery("token"), relay.BodyDigest()}}
		return r
	}
	return []relay.Route{route("built", http.MethodGet), route("built", http.MethodPost), route("failed", http.MethodPost)}
}
