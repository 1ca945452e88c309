package handlers

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/theforeman/foreman-relay/relay"
)

func (a *admin) cancel(c echo.Context) error {
	id, err := pathParam(c, "id")
	if err != nil {
		return err
	}
	if err := a.Operator.Cancel(c.Request().Context(), id); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func (a *admin) purge(c echo.Context) error {
	q, err := queueParams(c)
	if err != nil {
		return err
	}
	f := relay.PurgeFilter{Route: c.QueryParam("route"), Host: c.QueryParam("host"), DryRun: c.QueryParam("dry-run") == "true"}
	if f.Before, err = timeQuery(c, "before"); err != nil {
		return err
	}
	if s := c.QueryParam("from"); s != "" {
		if f.From, err = strconv.ParseUint(s, 10, 64); err != nil {
			return relay.Refuse(relay.CodeMalformed, "from must be a sequence, not %q", s)
		}
	}
	p, err := a.Operator.Purge(c.Request().Context(), q, f)
	return answer(c, p, err)
}
