package handlers

import (
	"context"
	"net/http"
	"net/http/pprof" // its handlers only; nothing serves the default mux
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
)

// AdminOptions make the admin API.
type AdminOptions struct {
	Operator      relay.Operator
	Intake        relay.Intake // for readiness
	Organizations relay.Organizations
	Edge          *Edge // takes what is enqueued here
	Storage       func() relay.Storage
	Config        any // the effective configuration; holds no secrets
	Version       string
	Registry      *prometheus.Registry
	Log           zerolog.Logger
}

// admin serves relay.Operator as JSON, and takes messages from operators as the
// edge does. Client is the other side.
type admin struct{ AdminOptions }

const adminPrefix = "/admin/v1"

// NewAdmin is the handler of the admin API.
func NewAdmin(o AdminOptions) http.Handler {
	a := &admin{o}
	e := newEcho(o.Log, func(relay.Code) {})
	g := e.Group(adminPrefix)
	g.GET("/queues", a.queues)
	g.GET("/queues/:organization/:destination", a.queue)
	g.POST("/queues/:organization/:destination/pause", a.pause)
	g.POST("/queues/:organization/:destination/resume", a.resume)
	g.GET("/queues/:organization/:destination/peek", a.peek)
	g.POST("/queues/:organization/:destination/purge", a.purge)
	g.GET("/messages", a.messages)
	g.POST("/queues/:organization/:destination/messages", o.Edge.local, o.Edge.hurry, o.Edge.gate)
	g.GET("/messages/:id", a.message)
	g.GET("/messages/:id/why", a.why)
	a.addDeadLetters(g)
	a.addOrganizations(g)
	g.POST("/messages/:id/cancel", a.cancel)
	g.POST("/audit", a.audit)
	g.GET("/storage", func(c echo.Context) error { return c.JSON(http.StatusOK, a.Storage()) })
	g.GET("/config", func(c echo.Context) error { return c.JSON(http.StatusOK, a.Config) })
	g.GET("/version", func(c echo.Context) error { return c.JSON(http.StatusOK, map[string]string{"version": a.Version}) })
	addHealth(e, o.Intake)
	addProfiles(e)
	// One collector that fails, because the broker is away, must not hide the others.
	e.GET("/metrics", echo.WrapHandler(promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})))
	return e
}

// addProfiles serves the runtime's profiles, on the socket that only the owner
// of the relay can open: `curl --unix-socket … http://relay/debug/pprof/profile`.
func addProfiles(e *echo.Echo) {
	e.GET("/debug/pprof/*", echo.WrapHandler(http.HandlerFunc(pprof.Index)))
	e.GET("/debug/pprof/profile", echo.WrapHandler(http.HandlerFunc(pprof.Profile)))
	e.GET("/debug/pprof/trace", echo.WrapHandler(http.HandlerFunc(pprof.Trace)))
}

func (a *admin) queues(c echo.Context) error {
	all, err := a.Operator.Queues(c.Request().Context())
	return answer(c, all, err)
}

func (a *admin) queue(c echo.Context) error {
	q, err := queueParams(c)
	if err != nil {
		return err
	}
	s, err := a.Operator.Queue(c.Request().Context(), q)
	return answer(c, s, err)
}

func (a *admin) pause(c echo.Context) error {
	q, err := queueParams(c)
	if err != nil {
		return err
	}
	if err := a.Operator.Pause(c.Request().Context(), q, c.QueryParam("by"), c.QueryParam("reason")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func (a *admin) resume(c echo.Context) error {
	q, err := queueParams(c)
	if err != nil {
		return err
	}
	if err := a.Operator.Resume(c.Request().Context(), q); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func (a *admin) peek(c echo.Context) error {
	q, err := queueParams(c)
	if err != nil {
		return err
	}
	o := relay.PeekOptions{Body: c.QueryParam("body") == "true"}
	if o.Limit, err = limitQuery(c); err != nil {
		return err
	}
	list, err := a.Operator.Peek(c.Request().Context(), q, o)
	return answer(c, list, err)
}

func (a *admin) messages(c echo.Context) error {
	f := relay.MessageFilter{State: relay.State(c.QueryParam("state")), Route: c.QueryParam("route"), Host: c.QueryParam("host")}
	var err error
	if f.Queue, err = queueQuery(c); err != nil {
		return err
	}
	if f.Since, err = timeQuery(c, "since"); err != nil {
		return err
	}
	if f.Limit, err = limitQuery(c); err != nil {
		return err
	}
	list, err := a.Operator.Messages(c.Request().Context(), f)
	return answer(c, list, err)
}

func (a *admin) message(c echo.Context) error {
	return one(c, a.Operator.Message)
}

func (a *admin) why(c echo.Context) error {
	return one(c, a.Operator.Why)
}

func (a *admin) audit(c echo.Context) error {
	q, err := queueQuery(c)
	if err != nil {
		return err
	}
	since, err := timeQuery(c, "since")
	if err != nil {
		return err
	}
	reports, err := a.Operator.Audit(c.Request().Context(), relay.AuditOptions{Queue: q, Since: since})
	return answer(c, reports, err)
}

// limitQuery reads ?limit=N; 0 where there is none.
func limitQuery(c echo.Context) (int, error) {
	s := c.QueryParam("limit")
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, relay.Refuse(relay.CodeMalformed, "limit must be a number of at least 1, not %q", s)
	}
	return n, nil
}

// timeQuery reads a time; zero where there is none.
func timeQuery(c echo.Context, name string) (time.Time, error) {
	s := c.QueryParam(name)
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, relay.Refuse(relay.CodeMalformed, "%s must be a time as RFC 3339 writes it, not %q", name, s)
	}
	return t, nil
}

// queueQuery reads ?queue=ORGANIZATION/DESTINATION; nil where there is none.
func queueQuery(c echo.Context) (*relay.Queue, error) {
	s := strings.TrimSpace(c.QueryParam("queue"))
	if s == "" {
		return nil, nil //nolint:nilnil // no filter, no error
	}
	q, err := relay.ParseQueue(s)
	if err != nil {
		return nil, relay.Refuse(relay.CodeMalformed, "%s", err.Error())
	}
	return &q, nil
}

// one answers with what ask finds under the id in the path.
func one[T any](c echo.Context, ask func(context.Context, string) (T, error)) error {
	id, err := pathParam(c, "id")
	if err != nil {
		return err
	}
	v, err := ask(c.Request().Context(), id)
	return answer(c, v, err)
}

func answer(c echo.Context, v any, err error) error {
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, v)
}
