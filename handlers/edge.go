package handlers

import (
	"net/http"
	"net/url"
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
	MaxBody      int64 // bytes; a route's own limit may be lower
	BodyTimeout  time.Duration
	Now          relay.Clock
	Metrics      *Metrics
	Log          zerolog.Logger
}

// Edge takes requests: route, body, schema, lane, key, intake, reply.
type Edge struct {
	EdgeOptions
	echo     *echo.Echo
	refusing atomic.Bool
}

// NewEdge makes the handler of the edge.
func NewEdge(o EdgeOptions) *Edge {
	if o.BodyTimeout == 0 {
		o.BodyTimeout = DefaultBodyTimeout
	}
	e := &Edge{EdgeOptions: o, echo: newEcho(o.Log, o.Metrics.refuse)}
	e.echo.Use(e.observe, e.gate)
	for _, r := range o.Routes {
		for _, path := range r.Paths {
			e.echo.Add(r.Method, path, e.hostFacing(r)).Name = r.Name
		}
	}
	e.echo.POST("/relay/v1/queues/:organization/:destination/messages", e.generic).Name = genericRoute
	e.echo.GET("/relay/v1/messages/:id", e.status).Name = "status"
	e.echo.GET("/livez", live).Name = "livez"
	e.echo.GET("/readyz", ready(o.Intake)).Name = "readyz"
	return e
}

// newEcho is an echo whose every error is a problem.
func newEcho(log zerolog.Logger, count func(relay.Code)) *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = problemHandler(log, count)
	e.Pre(withRequestID)
	e.Use(middleware.RecoverWithConfig(middleware.RecoverConfig{DisablePrintStack: true,
		LogErrorFunc: func(_ echo.Context, err error, stack []byte) error {
			log.Error().Err(err).Bytes("stack", stack).Msg("a handler panicked")
			return err
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

func queueParams(c echo.Context) (relay.Queue, error) {
	organization, err := url.PathUnescape(c.Param("organization"))
	if err != nil {
		return relay.Queue{}, relay.Refuse(relay.CodeMalformed, "the organization in the path is not percent-encoded as it should be")
	}
	return relay.Queue{Organization: organization, Destination: c.Param("destination")}, nil
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
		decodeGzip: r.DecodeGzip, timeout: e.BodyTimeout})
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

// takeHeaders keeps what the destination needs of the request's headers.
func takeHeaders(m *relay.Message, h http.Header) error {
	m.ContentType, m.Accept = h.Get("Content-Type"), strings.Join(h.Values("Accept"), ", ")
	for name, value := range map[string]string{"Content-Type": m.ContentType, "Accept": m.Accept} {
		if err := headerFit(name, value); err != nil {
			return err
		}
	}
	return nil
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
	doc, err := decodeJSON(m.Body)
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

// maxHeaderValue bounds each header value that is kept, in bytes.
const maxHeaderValue = 255

// single reads a header that may be given once: printable ASCII.
func single(h http.Header, name string) (string, error) {
	values := h.Values(name)
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 {
		return "", relay.Refuse(relay.CodeMalformed, "header %s is given %d times; give it once", name, len(values))
	}
	if strings.TrimSpace(values[0]) == "" {
		return "", relay.Refuse(relay.CodeMalformed, "header %s is empty; leave it out or give it a value", name)
	}
	return values[0], headerFit(name, values[0])
}

func headerFit(name, value string) error {
	if len(value) > maxHeaderValue || !printable(value) {
		return relay.Refuse(relay.CodeMalformed, "header %s must be printable ASCII of at most %d bytes; nothing was stored", name, maxHeaderValue)
	}
	return nil
}

// reply is the receipt, with the status that the route's client needs.
func reply(c echo.Context, status int, r relay.Receipt) error {
	h := c.Response().Header()
	h.Set("Location", r.Location)
	h.Set("Relay-Message-Id", r.ID)
	if r.Replayed {
		h.Set("Idempotent-Replayed", "true")
	}
	return c.JSON(status, r)
}

// publicStatus is what anybody who has a message's id may see of it.
type publicStatus struct {
	ID          string      `json:"id"`
	State       relay.State `json:"state"`
	AcceptedAt  *time.Time  `json:"accepted_at,omitempty"`
	Attempts    int         `json:"attempts"`
	NextAttempt *time.Time  `json:"next_attempt,omitempty"`
	Reason      string      `json:"reason,omitempty"`
	ReplacedBy  string      `json:"replaced_by,omitempty"`
}

func (e *Edge) status(c echo.Context) error {
	s, err := e.Intake.Message(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, publicStatus{s.ID, s.State, s.AcceptedAt, s.Attempts, s.NextAttempt, s.Reason, s.ReplacedBy})
}
