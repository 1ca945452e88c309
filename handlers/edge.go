package handlers

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/schemas"
)

// genericRoute is the name under which messages of the queue endpoint are kept.
const genericRoute = "message"

// DefaultBodyTimeout bounds how long a body may take to come.
const DefaultBodyTimeout = 30 * time.Second

// EdgeOptions make an Edge.
type EdgeOptions struct {
	Intake       relay.Intake
	Known        func(relay.Queue) bool
	Organization string // of the host-facing routes
	Routes       []relay.Route
	Pass         PassOptions
	MaxBody      int64 // bytes; a route's own limit may be lower
	BodyTimeout  time.Duration
	Now          relay.Clock
	Metrics      *Metrics
	Log          zerolog.Logger
	AccessLevel  *zerolog.Level // of the line that each request is; nil: info
}

// Edge takes requests: route, body, schema, lane, key, intake, reply.
type Edge struct {
	EdgeOptions
	echo     *echo.Echo
	shapes   map[string]*schemas.Shape // by route
	refusing atomic.Bool
	last     *lastGood
}

// NewEdge makes the handler of the edge.
func NewEdge(o EdgeOptions) *Edge {
	if o.BodyTimeout == 0 {
		o.BodyTimeout = DefaultBodyTimeout
	}
	e := &Edge{EdgeOptions: o, shapes: map[string]*schemas.Shape{}}
	e.echo = newEcho(o.Log, o.Metrics.refuse, e.observe)
	e.echo.Use(e.knowScript, e.hurry, e.gate)
	o.Metrics.expect(o.Organization, o.Routes)
	for _, r := range o.Routes {
		e.shapes[r.Name] = shapeOf(r)
		for _, path := range r.Paths {
			e.echo.Add(r.Method, path, e.hostFacing(r)).Name = r.Name
		}
	}
	e.addPasses()
	e.echo.POST("/relay/v1/queues/:organization/:destination/messages", e.generic).Name = genericRoute
	e.echo.GET("/relay/v1/messages/:id", e.status).Name = "status"
	addHealth(e.echo, o.Intake)
	return e
}

// addHealth adds what asks for health; monitoring asks with HEAD too.
func addHealth(e *echo.Echo, intake relay.Intake) {
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		e.Add(method, "/livez", live)
		e.Add(method, "/readyz", ready(intake))
	}
}

// newEcho is an echo whose every error is a problem, a panic too; outer sees the
// answers to those as well.
func newEcho(log zerolog.Logger, count func(relay.Code), outer ...echo.MiddlewareFunc) *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = problemHandler(log, count)
	e.Pre(withRequestID)
	e.Use(outer...)
	e.Use(middleware.RecoverWithConfig(middleware.RecoverConfig{DisableStackAll: true,
		LogErrorFunc: func(_ echo.Context, err error, stack []byte) error { // logged by the problem handler
			return fmt.Errorf("a handler panicked: %w\n%s", err, stack)
		}}))
	return e
}

func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.echo.ServeHTTP(w, r) }

// Refuse makes every further request a 503, while those under way are finished.
func (e *Edge) Refuse() { e.refusing.Store(true) }

func (e *Edge) gate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if e.refusing.Load() && c.Path() != "/livez" {
			c.Response().Header().Set("Connection", "close")
			return &relay.Error{Code: relay.CodeUnavailable, RetryAfter: 5 * time.Second,
				Detail: "the relay is stopping; nothing was stored, send it again"}
		}
		return next(c)
	}
}

func live(c echo.Context) error { return c.String(http.StatusOK, "ok\n") }

func ready(intake relay.Intake) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := intake.Ready(c.Request().Context()); err != nil {
			return &relay.Error{Code: relay.CodeUnavailable, Detail: "not ready: " + err.Error()}
		}
		return c.String(http.StatusOK, "ready\n")
	}
}

// hostFacing takes what a client meant for Foreman.
func (e *Edge) hostFacing(r relay.Route) echo.HandlerFunc {
	return func(c echo.Context) error {
		m := &relay.Message{Queue: relay.Queue{Organization: e.Organization, Destination: r.Destination}, Path: c.Request().URL.RequestURI()}
		return e.take(c, r, m)
	}
}

// generic takes a message for any queue, by name. With Relay-Route it is one of
// the destination's own requests, else it is delivered to the destination's URL.
func (e *Edge) generic(c echo.Context) error {
	q, err := queueParams(c)
	if err != nil {
		return err
	}
	if !e.Known(q) {
		return relay.Refuse(relay.CodeNotFound, "there is no queue %s; nothing was stored", q)
	}
	r, path, err := e.genericRoute(c.Request().Header, q)
	if err != nil {
		return err
	}
	return e.take(c, r, &relay.Message{Queue: q, Path: path})
}

func (e *Edge) genericRoute(h http.Header, q relay.Queue) (relay.Route, string, error) {
	name, err := single(h, "Relay-Route")
	if err != nil || name == "" {
		return relay.Route{Name: genericRoute, Method: http.MethodPost, MaxBody: e.MaxBody,
			Reply: relay.Reply{Status: http.StatusAccepted}}, "", err
	}
	i := slices.IndexFunc(e.Routes, func(r relay.Route) bool { return r.Name == name && r.Destination == q.Destination })
	if i < 0 {
		return relay.Route{}, "", relay.Refuse(relay.CodeInvalid, "header Relay-Route: destination %s has no route %q", q.Destination, name)
	}
	r := e.Routes[i]
	r.Reply.Status = http.StatusAccepted
	return r, r.Paths[0], nil
}

// take does the steps that all routes share.
func (e *Edge) take(c echo.Context, r relay.Route, m *relay.Message) error {
	req := c.Request()
	body, encoding, err := readBody(c.Response(), req, bodyRules{limit: min(r.MaxBody, e.MaxBody), contentTypes: r.ContentTypes,
		decodeGzip: r.DecodeGzip})
	if err != nil {
		return err
	}
	m.Route, m.Method, m.Body, m.ContentEncoding = r.Name, r.Method, body, encoding
	m.Digest, m.Received, m.RequestID = relay.DigestOf(body), e.Now(), requestID(c)
	if err := takeHeaders(m, req.Header); err != nil {
		return err
	}
	if err := e.identify(m, r, req.Header); err != nil {
		return err
	}
	receipt, err := e.Intake.Accept(req.Context(), m)
	if err != nil {
		return err
	}
	e.Metrics.accept(m, receipt.Replayed)
	return reply(c, r.Reply.Status, receipt)
}

// identify finds schema, lane and key, and from them the message's id.
func (e *Edge) identify(m *relay.Message, r relay.Route, h http.Header) error {
	var err error
	if m.Key, err = single(h, "Idempotency-Key"); err != nil {
		return err
	}
	if r.Schema == "" {
		lane, err := single(h, "Relay-Ordering-Key")
		if err != nil {
			return err
		}
		m.Lane = strings.ToLower(strings.TrimSpace(lane))
	} else if err := e.examine(m, r); err != nil {
		return err
	}
	m.ID = relay.FreshID(m.Queue)
	if m.Key != "" {
		m.ID = relay.KeyedID(m.Queue, m.Key)
	}
	return nil
}

// examine reads the body of a route that has a schema.
func (e *Edge) examine(m *relay.Message, r relay.Route) error {
	doc, err := decodeJSON(m.Body, e.shapes[r.Name])
	if err != nil {
		return err
	}
	if found := schemas.Validate(r.Schema, doc); len(found) > 0 {
		refused := relay.Refuse(relay.CodeInvalid, "Foreman would refuse this for ever: %s %s; nothing was stored", found[0].Pointer, found[0].Message)
		for _, v := range found {
			refused.Violations = append(refused.Violations, relay.Violation{Pointer: v.Pointer, Message: v.Message})
		}
		return refused
	}
	m.Lane = r.Lane.Extract(doc)
	if m.Key == "" {
		m.Key, _ = r.Key.Derive(doc) // none where the route has none
	}
	return nil
}
