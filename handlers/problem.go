package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
)

// Problem is an error as clients see it (RFC 9457).
type Problem struct {
	Type       string            `json:"type"`
	Title      string            `json:"title"`
	Status     int               `json:"status"`
	Detail     string            `json:"detail"`
	Reason     string            `json:"reason,omitempty"`   // one word, where the type has several
	Instance   string            `json:"instance,omitempty"` // the request's id
	Violations []relay.Violation `json:"violations,omitempty"`
}

const (
	problemType  = "urn:foreman-relay:problem:"
	problemMedia = "application/problem+json"
)

// statuses is the one table of codes and statuses.
var statuses = map[relay.Code]struct {
	status int
	title  string
}{
	relay.CodeMalformed:            {http.StatusBadRequest, "The request cannot be read"},
	relay.CodeInvalid:              {http.StatusUnprocessableEntity, "The request would be refused for ever"},
	relay.CodeKeyConflict:          {http.StatusUnprocessableEntity, "The idempotency key belongs to another request"},
	relay.CodeInFlight:             {http.StatusConflict, "A request with this key is being stored"},
	relay.CodeConflict:             {http.StatusConflict, "The request does not fit the present state"},
	relay.CodeTooLarge:             {http.StatusRequestEntityTooLarge, "The body is too large"},
	relay.CodeUnsupportedMediaType: {http.StatusUnsupportedMediaType, "The body's type or encoding is not taken here"},
	relay.CodeNotFound:             {http.StatusNotFound, "There is nothing here"},
	relay.CodeMethodNotAllowed:     {http.StatusMethodNotAllowed, "The method is not allowed here"},
	relay.CodeUnauthenticated:      {http.StatusUnauthorized, "It is not known who asks"},
	relay.CodeDenied:               {http.StatusForbidden, "This is not allowed"},
	relay.CodeTooManyRequests:      {http.StatusTooManyRequests, "Too many requests"},
	relay.CodeTimeout:              {http.StatusRequestTimeout, "The body came too slowly"},
	relay.CodeUnavailable:          {http.StatusServiceUnavailable, "Not available now: the outcome is unknown, and the same key is safe to send again"},
	relay.CodeAway:                 {http.StatusServiceUnavailable, "Only the destination can answer this, and it cannot be asked now"},
	relay.CodeStorageFull:          {http.StatusInsufficientStorage, "There is no space"},
	relay.CodeQuotaFull:            {http.StatusInsufficientStorage, "The queue is full"},
	relay.CodeInternal:             {http.StatusInternalServerError, "The relay has failed"},
}

// asError makes an *relay.Error of anything; an error of echo's router by its
// status. What is internal, or has a code that is not in the table, keeps its
// words for the log.
func asError(err error, requestID string) *relay.Error {
	var known *relay.Error
	if errors.As(err, &known) {
		if _, listed := statuses[known.Code]; listed && known.Code != relay.CodeInternal {
			return known
		}
	}
	var routing *echo.HTTPError
	if errors.As(err, &routing) {
		switch routing.Code {
		case http.StatusNotFound:
			return relay.Refuse(relay.CodeNotFound, "no route takes this path; see the documentation for those that do")
		case http.StatusMethodNotAllowed:
			return relay.Refuse(relay.CodeMethodNotAllowed, "the path is known, but not with this method")
		case http.StatusBadRequest:
			return relay.Refuse(relay.CodeMalformed, "the request cannot be read")
		}
	}
	internal := &relay.Error{Code: relay.CodeInternal, Err: err, Detail: "the cause is in the relay's log under request id " + requestID}
	if known != nil {
		internal.RetryAfter = known.RetryAfter
	}
	return internal
}

// problemHandler answers with the problem and logs, once, what the client is
// not told.
func problemHandler(log zerolog.Logger, count func(relay.Code)) echo.HTTPErrorHandler {
	return func(err error, c echo.Context) {
		e := asError(err, requestID(c))
		gone := c.Request().Context().Err() != nil && (e.Code == relay.CodeUnavailable || errors.Is(err, context.Canceled))
		if !gone && (e.Code == relay.CodeInternal || e.Code == relay.CodeUnavailable) {
			log.Error().Err(e.Err).Str("request_id", requestID(c)).Str("code", string(e.Code)).Msg(e.Detail)
		}
		if c.Response().Committed {
			return // too late to tell the client
		}
		count(e.Code)
		if err := writeProblem(c, e); err != nil {
			log.Debug().Err(err).Msg("an answer was not taken")
		}
	}
}

// writeProblem answers with the problem, or with a script to a caller that would
// run the problem in a shell.
func writeProblem(c echo.Context, e *relay.Error) error {
	s := statuses[e.Code]
	if s.status == http.StatusUnauthorized { // it must say how (RFC 9110, 15.5.2); certificates have no registered scheme
		c.Response().Header().Set("WWW-Authenticate", "ClientCertificate")
	}
	if e.RetryAfter > 0 {
		seconds := int(math.Ceil(e.RetryAfter.Seconds()))
		c.Response().Header().Set("Retry-After", strconv.Itoa(seconds))
	}
	if script, ok := c.Get(contextScript).(*relay.Script); ok {
		return c.String(s.status, scriptFor(script, e.Code))
	}
	body, err := json.Marshal(Problem{Type: problemType + string(e.Code), Title: s.title, Status: s.status,
		Detail: e.Detail, Reason: e.Reason, Instance: requestID(c), Violations: e.Violations})
	if err != nil {
		return err
	}
	return c.Blob(s.status, problemMedia, body)
}

// readProblem is the inverse: the error behind an answer that is none.
func readProblem(status int, header http.Header, body []byte) *relay.Error {
	var p Problem
	code := relay.CodeInternal
	if json.Unmarshal(body, &p) == nil && strings.HasPrefix(p.Type, problemType) {
		code = relay.Code(strings.TrimPrefix(p.Type, problemType))
	}
	if _, known := statuses[code]; !known || p.Detail == "" {
		return relay.Refuse(relay.CodeInternal, "the relay answers %d: %s", status, relay.Excerpt(body))
	}
	seconds, _ := strconv.Atoi(header.Get("Retry-After")) // 0 where there is none
	return &relay.Error{Code: code, Detail: p.Detail, Reason: p.Reason, Violations: p.Violations, RetryAfter: time.Duration(seconds) * time.Second}
}
