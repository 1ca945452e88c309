package handlers

import (
	"fmt"
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

const genericRoute = relay.GenericRoute

// DefaultBodyTimeout bounds how long a body may take to come.
const DefaultBodyTimeout = 30 * time.Second

// EdgeOptions make an Edge.
type EdgeOptions struct {
	Intake relay.Intake
	Known  func(relay.Queue) bool
	// QueueOf is the queue of a token, with which the ids of its messages begin.
	QueueOf      func(token string) (relay.Queue, bool)
	Organization string   // whose accepted messages are counted from the start
	Callers      *Callers // nil: nobody is asked who he is, and all are of Organization
	Door         DoorOptions
	Routes       []relay.Route
	Pass         PassOptions
	SmartProxy   SmartProxyOptions
	Handshaker   *relay.Handshaker // nil: there is no handshake
	Policy       relay.Policy      // of messages of no route; zero: DefaultPolicy
	MaxBody      int64             // bytes; a route's own limit may be lower
	BodyTimeout  time.Duration
	Now          relay.Clock
	Metrics      *Metrics
	Log          zerolog.Logger
	Sealer       relay.Sealer   // nil: nothing is sealed, and no credentials are taken
	AccessLevel  *zerolog.Level // of the line that each request is; nil: info
}

// Edge takes requests: route, body, schema, lane, key, intake, reply.
type Edge struct {
	EdgeOptions
	echo     *echo.Echo
	door     *door
	shapes   map[string]*schemas.Shape // by route
	refusing atomic.Bool
	seconds  *seconds
	last     *lastGood
}

// NewEdge makes the handler of the edge.
func NewEdge(o EdgeOptions) *Edge {
	if o.BodyTimeout == 0 {
		o.BodyTimeout = DefaultBodyTimeout
	}
	if o.Policy.MaxAge == 0 {
		o.Policy = relay.DefaultPolicy()
	}
	if o.Callers == nil {
		o.Callers = NewCallers(CallerOptions{Anonymous: o.Organization, Log: o.Log})
	}
	e := &Edge{EdgeOptions: o, door: newDoor(o.Door, o.Now), shapes: map[string]*schemas.Shape{}, seconds: newSeconds(o.Now())}
	e.echo = newEcho(o.Log, o.Metrics.refuse, e.observe)
	e.echo.Use(e.knowScript, e.hurry, e.gate, e.recognize)
	o.Metrics.expect(o.Organization, o.Routes)
	for _, r := range o.Routes {
		e.shapes[r.Name] = shapeOf(r)
		for _, path := range r.Paths {
			e.echo.Add(r.Method, path, e.hostFacing(r)).Name = r.Name
		}
	}
	e.addPasses()
	e.addSmartProxy()
	e.addHandshake()
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
		who, err := e.speaker(c, r.Anonymous)
		if err != nil {
			return err
		}
		if err := noCredentials(c.Request().Header); err != nil {
			return err
		}
		m := &relay.Message{Queue: relay.Queue{Organization: who.Organization, Destination: r.Destination}, Path: c.Request().URL.RequestURI()}
		if err := e.belongs(who, m.Queue); err != nil {
			return err
		}
		return e.take(c, who, r, m)
	}
}

// generic takes a message for any queue, by name. With Relay-Route it is one of
// the destination's own requests, else it is delivered to the destination's URL.
func (e *Edge) generic(c echo.Context) error {
	who, err := e.speaker(c, false)
	if err != nil {
		return err
	}
	return e.enqueue(c, who, plainPath)
}

// enqueue is what all share who name a queue; pathOf is where a message of a
// route is delivered to.
func (e *Edge) enqueue(c echo.Context, who speaker, pathOf func(relay.Route, http.Header) (string, error)) error {
	q, err := queueParams(c)
	if err != nil {
		return err
	}
	if e.foreign(c, who, q) || !e.Known(q) {
		return relay.Refuse(relay.CodeNotFound, "there is no queue %s; nothing was stored", q)
	}
	r, err := e.genericRoute(c.Request().Header, q)
	if err != nil {
		return err
	}
	path, err := pathOf(r, c.Request().Header)
	if err != nil {
		return err
	}
	return e.take(c, who, r, &relay.Message{Queue: q, Path: path})
}

func (e *Edge) genericRoute(h http.Header, q relay.Queue) (relay.Route, error) {
	name, err := single(h, headerRoute)
	if err != nil || name == "" {
		return relay.Route{Name: genericRoute, Method: http.MethodPost, MaxBody: e.MaxBody, Stream: true,
			Reply: relay.Reply{Status: http.StatusAccepted}, Policy: e.Policy}, err
	}
	i := slices.IndexFunc(e.Routes, func(r relay.Route) bool { return r.Name == name && r.Destination == q.Destination })
	if i < 0 {
		return relay.Route{}, relay.Refuse(relay.CodeInvalid, "header %s: destination %s has no route %q", headerRoute, q.Destination, name)
	}
	r := e.Routes[i]
	r.Reply = relay.Reply{Status: http.StatusAccepted}
	return r, nil
}

// plainPath is the route's own path, if a body is all that the route needs.
func plainPath(r relay.Route, h http.Header) (string, error) {
	switch {
	case len(h.Values(headerPath)) > 0:
		return "", relay.Refuse(relay.CodeDenied, "header %s is not taken here: only an operator on the relay's machine may choose a path", headerPath)
	case r.Name == genericRoute:
		return "", nil
	case !r.Plain():
		return "", relay.Refuse(relay.CodeInvalid, "header %s: route %q needs more of a request than its body; send it to %s", headerRoute, r.Name, r.Paths[0])
	}
	return r.Paths[0], nil
}

// take does the steps that all routes share.
func (e *Edge) take(c echo.Context, who speaker, r relay.Route, m *relay.Message) error {
	req := c.Request()
	tenant, err := e.admit(c, who, m.Queue.Organization)
	if err != nil {
		return err
	}
	limit := min(r.MaxBody, e.MaxBody)
	if most := tenant.Quota.MessageBytes; most > 0 {
		limit = min(limit, most)
	}
	body, err := readBody(c.Response(), req, bodyRules{limit: limit, contentTypes: r.ContentTypes,
		magic: r.Magic, decodeGzip: r.DecodeGzip, stream: r.Stream})
	if err != nil {
		return err
	}
	m.Route, m.Method, m.ContentEncoding = r.Name, r.Method, body.encoding
	m.Received, m.RequestID, m.Sender = e.Now(), requestID(c), who.String()
	if body.rest == nil {
		m.Body, m.Digest = body.whole, relay.DigestOf(body.whole)
	} else {
		m.Size, m.Open = body.size, newIncoming(c.Response(), body, limit, e.BodyTimeout).open
	}
	if err := takeHeaders(m, r, req); err != nil {
		return err
	}
	if err := takeTimes(m, r, req.Header); err != nil {
		return err
	}
	if err := e.aim(c, r, m); err != nil {
		return err
	}
	view, err := e.view(m, r, req)
	if err != nil {
		return err
	}
	if err := e.identify(m, r, view, req); err != nil {
		return err
	}
	hosts, err := e.maySpeakFor(who, r, view, m)
	if err != nil {
		return err
	}
	if err := e.seal(m, req); err != nil {
		return err
	}
	receipt, err := e.accept(c, r, m)
	if err != nil {
		return e.door.full(err)
	}
	e.Callers.learn(who, hosts)
	e.Metrics.accept(m, receipt.Replayed)
	return reply(c, r.Reply, receipt)
}

// identify finds lane, kind and key, and from them the message's id.
func (e *Edge) identify(m *relay.Message, r relay.Route, view relay.Request, req *http.Request) (err error) {
	h := req.Header
	if m.Lane, err = laneOf(r.Lane, view, h); err != nil {
		return err
	}
	m.Kind = r.KindOf(view)
	if m.Key, err = single(h, headerKey); err != nil {
		return err
	}
	if m.Key == "" {
		if m.Key, err = e.derivedKey(req.Context(), m, r, view); err != nil {
			return err
		}
	}
	m.ID = relay.FreshID(m.Queue)
	if m.Key != "" {
		m.ID = relay.KeyedID(m.Queue, m.Key)
	}
	return nil
}

// view is what the rules of a route may look at; a body of a route that has a
// schema is examined.
func (e *Edge) view(m *relay.Message, r relay.Route, req *http.Request) (relay.Request, error) {
	view := relay.Request{Body: m.Body, Digest: m.Digest, Address: clientAddress(req)}
	if r.Schema != "" {
		doc, err := e.examine(r, m.Body)
		if err != nil {
			return view, err
		}
		view.Doc = doc
	}
	if m.Path == "" { // the destination's own URL
		return view, nil
	}
	target, err := url.ParseRequestURI(m.Path)
	if err != nil {
		return view, relay.Refuse(relay.CodeMalformed, "the path cannot be read")
	}
	view.Query = target.Query()
	view.Params, _ = r.Match(target.EscapedPath())
	return view, nil
}

// laneOf is the route's lane; without a rule the sender may name one.
func laneOf(rule relay.LaneRule, view relay.Request, h http.Header) (string, error) {
	if len(rule.From) == 0 {
		lane, err := single(h, headerOrderingKey)
		return strings.ToLower(strings.TrimSpace(lane)), err
	}
	lane := rule.Extract(view)
	if lane == "" && rule.Missing != "" {
		return "", relay.Refuse(relay.CodeInvalid, "%s; nothing was stored", rule.Missing)
	}
	return lane, nil
}

// examine reads a body as far as it is looked at and holds it against its schema.
func (e *Edge) examine(r relay.Route, body []byte) (any, error) {
	doc, err := decodeJSON(body, e.shapes[r.Name])
	if err != nil {
		return nil, err
	}
	if found := schemas.Validate(r.Schema, doc); len(found) > 0 {
		refused := relay.Refuse(relay.CodeInvalid, "Foreman would refuse this for ever: %s %s; nothing was stored", found[0].Pointer, found[0].Message)
		for _, v := range found {
			refused.Violations = append(refused.Violations, relay.Violation{Pointer: v.Pointer, Message: v.Message})
		}
		return nil, refused
	}
	return doc, nil
}
