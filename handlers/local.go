package handlers

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/theforeman/foreman-relay/relay"
)

// local takes a message as generic does, from an operator on this machine. Who
// may use the admin socket is trusted to say which path a message is for, and so
// whose it is where a route is told by its path: no certificate is asked for.
func (e *Edge) local(c echo.Context) error { return e.enqueue(c, speaker{operator: true}, localPath) }

func localPath(r relay.Route, h http.Header) (string, error) {
	if len(h.Values(headerOrderingKey)) > 0 && len(r.Lane.From) > 0 {
		return "", relay.Refuse(relay.CodeInvalid, "route %s finds the ordering key by itself: leave it out; nothing was stored", r.Name)
	}
	path := h.Get(headerPath)
	if path == "" {
		return plainPath(r, h)
	}
	if err := headerFit(headerPath, path, maxNegotiation); err != nil {
		return "", err
	}
	plain, _, _ := strings.Cut(path, "?")
	if err := relay.CheckPath(plain); err != nil {
		return "", relay.Refuse(relay.CodeMalformed, "header %s: %s; nothing was stored", headerPath, err.Error())
	}
	return path, fits(r, path)
}

// fits holds a path against what the route delivers to: lane and key are found
// in it.
func fits(r relay.Route, path string) error {
	if r.Name == genericRoute {
		return nil
	}
	if r.ClientAddress {
		return relay.Refuse(relay.CodeInvalid, "route %s needs its sender's address, which is lost here; nothing was stored", r.Name)
	}
	if _, ok := r.Match(path); !ok {
		to := strings.Join(r.Paths, " or ")
		if r.Target != "" {
			to = r.Target
		}
		return relay.Refuse(relay.CodeInvalid, "route %s delivers to %s, not to %s; nothing was stored", r.Name, to, path)
	}
	return nil
}
