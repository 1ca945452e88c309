package handlers

import (
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/theforeman/foreman-relay/relay"
)

// maySpeakFor holds the hosts of a request against those that its sender may
// speak for, and returns them.
//
// Foreman takes a parameter that is not in the body from the query, in spellings
// of Ruby's own. Nobody needs one where the body names the host, so that none is
// taken there.
func (e *Edge) maySpeakFor(who speaker, r relay.Route, view relay.Request, m *relay.Message) ([]string, error) {
	if !who.held || r.Anonymous {
		return nil, nil
	}
	_, query, _ := strings.Cut(m.Path, "?")
	if query != "" && r.Name != genericRoute {
		return nil, relay.Refuse(relay.CodeDenied, "route %s takes nothing in the query: the path and the body say whose it is; leave ?%s away; nothing was stored", r.Name, queryNames(view.Query)).
			Because(relay.RefusedHost)
	}
	hosts := r.HostsOf(view)
	if r.Name == genericRoute && m.Lane != "" {
		hosts = []string{m.Lane} // who names a lane may hold it up
	}
	if len(hosts) == 0 && r.Name != genericRoute && !who.SpeaksFor.Any() {
		return nil, relay.Refuse(relay.CodeDenied, "this names no host that it is about: only who speaks for any may send it (speaks_for of the rule for %q); nothing was stored", who.Name).
			Because(relay.RefusedHost)
	}
	for _, host := range hosts {
		if err := e.Callers.maySpeak(who.Sender, host); err != nil {
			return nil, err
		}
	}
	return hosts, nil
}

// queryNames are the names in a query, without their values, which may be secret.
func queryNames(q url.Values) string {
	var names []string
	for name := range q {
		names = append(names, relay.Excerpt([]byte(name)))
	}
	slices.Sort(names)
	return strings.Join(names[:min(len(names), 4)], "&")
}

func (c *Callers) maySpeak(who relay.Sender, host string) error {
	if !who.SpeaksForHost(host) {
		return relay.Refuse(relay.CodeDenied, "the sender %q may not speak for %q (its rule says: %s); nothing was stored", who.Name, relay.Excerpt([]byte(host)), who.SpeaksFor).
			Because(relay.RefusedHost)
	}
	if home, known := c.homes.of(host); known && home != who.Organization {
		return relay.Refuse(relay.CodeDenied, "%q belongs to another organization than %q; nothing was stored", relay.Excerpt([]byte(host)), who.Organization).
			Because(relay.RefusedForeignHost)
	}
	return nil
}

// mayAskAbout holds the host in the path of a request that is passed on against
// those that its sender may speak for: what is told of a host is no more for
// everybody than what is said of it. Where the path names none, the query or the
// body may name any.
func (e *Edge) mayAskAbout(c echo.Context, who speaker) error {
	if !who.held {
		return nil
	}
	names := c.ParamNames()
	if len(names) == 0 && !who.SpeaksFor.Any() {
		return relay.Refuse(relay.CodeDenied, "this may be about any host: only who speaks for any may ask it (speaks_for of the rule for %q)", who.Name).
			Because(relay.RefusedHost)
	}
	for _, name := range names {
		host, err := pathParam(c, name)
		if err != nil {
			return err
		}
		if err := e.Callers.maySpeak(who.Sender, host); err != nil {
			return err
		}
	}
	return nil
}

// learn remembers to which organization a sender belongs that has spoken for itself.
func (c *Callers) learn(who speaker, hosts []string) {
	for _, host := range hosts {
		if name, ok := relay.HostName(host); ok && slices.Contains(who.Names, name) {
			c.homes.learn(name, who.Organization)
		}
	}
}
