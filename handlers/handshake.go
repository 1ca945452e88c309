package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/schemas"
)

// handshakePath is where a trusted Foreman says what the relay is to know.
const handshakePath = "/relay/v1/handshake"

// handshake serves a relay.Handshaker.
type handshake struct{ *relay.Handshaker }

// addHandshake adds the handshake for trusted hosts; without a Handshaker there is
// none.
func (e *Edge) addHandshake() {
	if e.Handshaker == nil {
		return
	}
	h := handshake{e.Handshaker}
	e.echo.GET(handshakePath, e.trustedForeman(h.show)).Name = "handshake"
	e.echo.POST(handshakePath, e.trustedForeman(h.take)).Name = "handshake"
}

// addHandshake adds the same for whoever may open the admin socket.
func (a *admin) addHandshake(g *echo.Group) {
	if a.Handshaker == nil {
		return
	}
	h := handshake{a.Handshaker}
	g.GET("/handshake", h.show)
	g.POST("/handshake", h.take, a.Edge.hurry)
}

// trustedForeman lets only named hosts in, over TLS, with a certificate. What is
// enough to read the features is not enough here: this changes who is let in.
func (e *Edge) trustedForeman(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		trust, who := e.SmartProxy.Trust, callerOf(c)
		switch {
		case !who.secure:
			return relay.Refuse(relay.CodeDenied, "the handshake is taken over TLS only, from a trusted Foreman with its certificate; on the relay's own machine use `foreman-relay handshake`")
		case len(trust.Hosts) == 0:
			return relay.Refuse(relay.CodeDenied, "nobody is trusted with the handshake: name Foreman in smart_proxy.trusted_hosts of the relay's configuration")
		}
		if why := trust.refusal(c.Request(), who); why != "" {
			return relay.Refuse(relay.CodeDenied, "%s", why)
		}
		return next(c)
	}
}

// shownHandshake is the document as it is shown.
type shownHandshake struct {
	Revision uint64          `json:"revision"`
	Document relay.Handshake `json:"document"`
	Pending  []string        `json:"pending,omitempty"` // organizations that are not yet as it says
}

func (h handshake) show(c echo.Context) error {
	r, err := h.Show(c.Request().Context())
	if err != nil {
		return err
	}
	if r.Revision == 0 {
		return relay.Refuse(relay.CodeNotFound, "there was no handshake yet")
	}
	setTag(c, r.Revision)
	return rubyJSON(c, shownHandshake{r.Revision, r.Document, r.Pending})
}

func setTag(c echo.Context, revision uint64) {
	c.Response().Header().Set("ETag", `"`+strconv.FormatUint(revision, 10)+`"`)
}

func (h handshake) take(c echo.Context) error {
	r := c.Request()
	seen, err := preconditionOf(r.Header)
	if err != nil {
		return err
	}
	dry, err := dryRun(c)
	if err != nil {
		return err
	}
	body, err := readBody(c.Response(), r, bodyRules{limit: relay.MaxHandshake, contentTypes: []string{echo.MIMEApplicationJSON}, decodeGzip: true})
	if err != nil {
		return err
	}
	document, err := readHandshake(body.whole)
	if err != nil {
		return err
	}
	reply, err := h.Take(r.Context(), document, seen, dry)
	if relay.CodeOf(err) == relay.CodeConflict && err != nil {
		if current, err := h.Show(r.Context()); err == nil { // what to send with If-Match next
			setTag(c, current.Revision)
		}
	}
	if err != nil {
		return err
	}
	setTag(c, reply.Revision)
	return rubyJSON(c, reply)
}

func dryRun(c echo.Context) (bool, error) {
	switch value := c.QueryParam("dry_run"); value {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, relay.Refuse(relay.CodeMalformed, "dry_run is %q; write true or false; nothing was changed", relay.Excerpt([]byte(value)))
	}
}

// preconditionOf reads If-Match: one tag, or a star.
func preconditionOf(h http.Header) (p relay.Precondition, err error) {
	value, err := single(h, "If-Match")
	switch {
	case err != nil || value == "":
		return p, err
	case value == "*":
		return relay.Precondition{Given: true, Any: true}, nil
	}
	tag, found := strings.CutPrefix(strings.TrimSuffix(value, `"`), `"`)
	revision, err := strconv.ParseUint(tag, 10, 64)
	if !found || err != nil {
		return p, relay.Refuse(relay.CodeMalformed, `If-Match must be one ETag of this document, for example "3", or *; nothing was changed`)
	}
	return relay.Precondition{Given: true, Revision: revision}, nil
}

// readHandshake reads a document and holds it against its schema. No error repeats
// anything of it that could be a secret.
func readHandshake(body []byte) (document relay.Handshake, err error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var doc any
	if err := decoder.Decode(&doc); err != nil {
		return document, relay.Refuse(relay.CodeMalformed, "the body is not JSON; nothing was changed")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return document, relay.Refuse(relay.CodeMalformed, "something follows the JSON document; nothing was changed")
	}
	if found := schemas.Validate(schemas.Handshake, doc); len(found) > 0 {
		refused := relay.Refuse(relay.CodeInvalid, "the document cannot be taken: %s: %s; nothing was changed", found[0].Pointer, found[0].Message)
		for _, v := range found {
			refused.Violations = append(refused.Violations, relay.Violation{Pointer: v.Pointer, Message: v.Message})
		}
		return document, refused
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return document, relay.Refuse(relay.CodeInvalid, "a number of the document is too large, or no whole one; nothing was changed")
	}
	return document, nil
}
