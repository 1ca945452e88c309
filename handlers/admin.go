package handlers

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
)

// AdminOptions make the admin API.
type AdminOptions struct {
	Operator relay.Operator
	Intake   relay.Intake // for readiness
	Storage  func() relay.Storage
	Config   any // the effective configuration; holds no secrets
	Version  string
	Registry *prometheus.Registry
	Log      zerolog.Logger
}

// admin serves relay.Operator as JSON. Client is the other side.
type admin struct{ AdminOptions }

const adminPrefix = "/admin/v1"

// NewAdmin is the handler of the admin API.
func NewAdmin(o AdminOptions) http.Handler {
	a := &admin{o}
	e := newEcho(o.Log, func(relay.Code) {})
	g := e.Group(adminPrefix)
	g.GET("/queues", a.queues)
	g.GET("/queues/:organization/:destination", a.queue)
	g.GET("/messages/:id", a.message)
	g.GET("/dead-letters", a.deadLetters)
	g.GET("/dead-letters/:id", a.deadLetter)
	g.POST("/dead-letters/:id/replay", a.replay)
	g.DELETE("/dead-letters/:id", a.discard)
	g.POST("/audit", a.audit)
	g.GET("/storage", func(c echo.Context) error { return c.JSON(http.StatusOK, a.Storage()) })
	g.GET("/config", func(c echo.Context) error { return c.JSON(http.StatusOK, a.Config) })
	g.GET("/version", func(c echo.Context) error { return c.JSON(http.StatusOK, map[string]string{"version": a.Version}) })
	addHealth(e, o.Intake)
	// One collector that fails, because the broker is away, must not hide the others.
	e.GET("/metrics", echo.WrapHandler(promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})))
	return e
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

func (a *admin) message(c echo.Context) error {
	return one(c, a.Operator.Message)
}

func (a *admin) deadLetters(c echo.Context) error {
	q, err := queueQuery(c)
	if err != nil {
		return err
	}
	f := relay.DeadLetterFilter{Queue: q}
	if limit := c.QueryParam("limit"); limit != "" {
		if f.Limit, err = strconv.Atoi(limit); err != nil || f.Limit < 1 {
			return relay.Refuse(relay.CodeMalformed, "limit must be a number of at least 1, not %q", limit)
		}
	}
	letters, err := a.Operator.DeadLetters(c.Request().Context(), f)
	return answer(c, letters, err)
}

func (a *admin) deadLetter(c echo.Context) error {
	return one(c, a.Operator.DeadLetter)
}

func (a *admin) replay(c echo.Context) error {
	return one(c, a.Operator.Replay)
}

func (a *admin) discard(c echo.Context) error {
	id, err := pathParam(c, "id")
	if err != nil {
		return err
	}
	if err := a.Operator.Discard(c.Request().Context(), id); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func (a *admin) audit(c echo.Context) error {
	q, err := queueQuery(c)
	if err != nil {
		return err
	}
	reports, err := a.Operator.Audit(c.Request().Context(), q)
	return answer(c, reports, err)
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
