package handlers

import (
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/theforeman/foreman-relay/relay"
)

// aim makes the path at the destination of a route that has one of its own: from
// the parameters in the path that was asked, the client's certificate, and the
// time. A path that was given already stays.
func (e *Edge) aim(c echo.Context, r relay.Route, m *relay.Message) error {
	if _, given := r.Match(m.Path); r.Target == "" || given {
		return nil
	}
	params := map[string]string{}
	for _, name := range c.ParamNames() {
		value, err := pathParam(c, name)
		if err != nil {
			return err
		}
		if strings.Contains(value, "/") || value == "." || value == ".." { // echo's last parameter takes all that is left
			return relay.Refuse(relay.CodeNotFound, "no route takes this path: %q is not one part of it; nothing was stored", value)
		}
		params[name] = value
	}
	if r.ClientParam != "" {
		client, err := clientName(callerOf(c))
		if err != nil {
			return err
		}
		params[r.ClientParam] = client
	}
	if r.DateParam != "" {
		params[r.DateParam] = strconv.FormatInt(e.seconds.next(params[r.ClientParam], m.Received), 10)
	}
	m.Path = relay.Fill(r.Target, params)
	return nil
}

// clientName is the common name of the client's certificate, lower-cased, as smart
// proxies do.
func clientName(k caller) (string, error) {
	if k.credential == nil {
		return "", relay.Refuse(relay.CodeDenied, "No client SSL certificate supplied: the host's certificate says whose report this is").
			Because(relay.RefusedNoCertificate)
	}
	name := strings.ToLower(strings.TrimSpace(k.credential.CN))
	if name == "" {
		return "", relay.Refuse(relay.CodeDenied, "the client's certificate has no common name, which would say whose report this is").
			Because(relay.RefusedUnusable)
	}
	return name, nil
}
