package handlers

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/theforeman/foreman-relay/relay"
)

// maxEdit bounds the body that says what a replay changes, in bytes.
const maxEdit = 1 << 20

// addDeadLetters serves the dead letters; none has an id like "causes".
func (a *admin) addDeadLetters(g *echo.Group) {
	g.GET("/dead-letters", a.deadLetters)
	g.POST("/dead-letters", a.importLetter)
	g.GET("/dead-letters/causes", a.causes)
	g.GET("/dead-letters/:id", a.deadLetter)
	g.GET("/dead-letters/:id/export", a.exportLetter)
	g.POST("/dead-letters/:id/replay", a.replay)
	g.DELETE("/dead-letters/:id", a.discard)
}

func (a *admin) deadLetters(c echo.Context) error {
	f, err := letterQuery(c)
	if err != nil {
		return err
	}
	letters, err := a.Operator.DeadLetters(c.Request().Context(), f)
	return answer(c, letters, err)
}

func (a *admin) causes(c echo.Context) error {
	f, err := letterQuery(c)
	if err != nil {
		return err
	}
	report, err := a.Operator.Causes(c.Request().Context(), f)
	return answer(c, report, err)
}

func (a *admin) deadLetter(c echo.Context) error {
	return one(c, a.Operator.DeadLetter)
}

func (a *admin) exportLetter(c echo.Context) error {
	return one(c, a.Operator.ExportDeadLetter)
}

func (a *admin) importLetter(c echo.Context) error {
	var x relay.ExportedLetter
	if err := readJSON(c, &x, relay.MaxExportLine); err != nil {
		return err
	}
	done, err := a.Operator.ImportDeadLetter(c.Request().Context(), x)
	return answer(c, done, err)
}

// replay takes an edit in the body; none there is none.
func (a *admin) replay(c echo.Context) error {
	id, err := pathParam(c, "id")
	if err != nil {
		return err
	}
	var e relay.Edit
	if err := readJSON(c, &e, maxEdit); err != nil {
		return err
	}
	receipt, err := a.Operator.Replay(c.Request().Context(), id, e)
	return answer(c, receipt, err)
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

// readJSON reads a body of at most so many bytes into v; an empty one leaves v
// as it is. A member that is not known is an error: it would be lost silently.
func readJSON(c echo.Context, v any, atMost int64) error {
	d := json.NewDecoder(http.MaxBytesReader(c.Response(), c.Request().Body, atMost))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return nil
	case errors.As(err, &tooLarge):
		return relay.Refuse(relay.CodeTooLarge, "the request has more than %d bytes", atMost)
	default:
		return relay.Refuse(relay.CodeMalformed, "the request cannot be read: %s", err.Error())
	}
}

// letterQuery reads a filter of dead letters; each where= is one condition.
func letterQuery(c echo.Context) (f relay.DeadLetterFilter, err error) {
	if f.Queue, err = queueQuery(c); err != nil {
		return f, err
	}
	if f.Since, err = timeQuery(c, "since"); err != nil {
		return f, err
	}
	for _, s := range c.QueryParams()["where"] {
		condition, err := relay.ParseCondition(s)
		if err != nil {
			return f, err
		}
		f.Where = append(f.Where, condition)
	}
	if f.After, err = placeQuery(c); err != nil {
		return f, err
	}
	f.Limit, err = limitQuery(c)
	return f, err
}

// placeQuery reads ?after=PLACE; 0 where there is none.
func placeQuery(c echo.Context) (uint64, error) {
	s := c.QueryParam("after")
	if s == "" {
		return 0, nil
	}
	place, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, relay.Refuse(relay.CodeMalformed, "after must be the place of a letter, not %q", s)
	}
	return place, nil
}
