package handlers

import (
	"net/url"

	"github.com/labstack/echo/v4"

	"github.com/theforeman/foreman-relay/relay"
)

// pathParam reads a parameter in the path. echo matches the encoded path where
// net/url keeps one, else the decoded path; decoding that again would make "A"
// of an organization that is really called "%41".
func pathParam(c echo.Context, name string) (string, error) {
	value := c.Param(name)
	if c.Request().URL.RawPath == "" {
		return value, nil
	}
	plain, err := url.PathUnescape(value)
	if err != nil {
		return "", relay.Refuse(relay.CodeMalformed, "%q in the path is not percent-encoded as it should be", value)
	}
	return plain, nil
}

// queueParams reads the queue in the path.
func queueParams(c echo.Context) (q relay.Queue, err error) {
	if q.Organization, err = pathParam(c, "organization"); err != nil {
		return q, err
	}
	q.Destination, err = pathParam(c, "destination")
	return q, err
}
