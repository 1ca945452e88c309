package handlers

import (
	"crypto/rand"
	"strings"

	"github.com/labstack/echo/v4"
)

const (
	headerRequestID  = "X-Request-Id"
	maxRequestID     = 128
	contextRequestID = "request_id"
)

// withRequestID takes the id that the client or Foreman gave, if it can be
// printed, or makes one, and gives it back in the answer.
func withRequestID(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		id := c.Request().Header.Get(headerRequestID)
		if id == "" || len(id) > maxRequestID || !printable(id) {
			id = rand.Text()
		}
		c.Set(contextRequestID, id)
		c.Response().Header().Set(headerRequestID, id)
		return next(c)
	}
}

func requestID(c echo.Context) string {
	id, _ := c.Get(contextRequestID).(string) // empty where the middleware has not run
	return id
}

// printable: visible ASCII and spaces only.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
