package handlers

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/schemas"
)

// bodyRules say how a request's body is read.
type bodyRules struct {
	limit        int64 // bytes, after decoding
	contentTypes []string
	magic        string // what the body begins with; empty: anything
	decodeGzip   bool   // else the encoding is kept as it is
	stream       bool   // one above relay.MaxInline is not read here but left to come
}

// requestBody is the body of a request: whole, or what has yet to come of it.
type requestBody struct {
	whole    []byte
	rest     io.Reader // nil: whole is all; else whole is its beginning
	size     int64     // of all of it; -1: not known yet
	encoding string    // that is still on it
}

// readBody reads the body of a request: at most one byte more than the limit,
// within the time that hurry allows. Where the rules say so it reads no more of a
// large one than it takes to know that it is large.
func readBody(w http.ResponseWriter, r *http.Request, rules bodyRules) (body requestBody, err error) {
	if err := checkMediaType(r.Header.Get("Content-Type"), rules.contentTypes); err != nil {
		return body, err
	}
	encoding, decode, err := contentEncoding(r.Header.Values("Content-Encoding"), rules.decodeGzip)
	if err != nil {
		return body, err
	}
	onWire := rules.limit
	body.encoding, body.size = encoding, r.ContentLength
	if decode {
		onWire, body.encoding, body.size = gzipBound(rules.limit), "", -1
	}
	if r.ContentLength > onWire {
		return body, tooLarge(rules.limit)
	}
	var src io.Reader = r.Body
	if decode {
		if src, err = gzip.NewReader(http.MaxBytesReader(nil, r.Body, onWire)); err != nil {
			return body, bodyError(err, rules.limit)
		}
	}
	here := rules.limit
	if rules.stream {
		here = min(here, relay.MaxInline)
	}
	body.whole, err = readAll(src, here+1, max(0, r.ContentLength))
	if err != nil {
		return body, bodyError(err, rules.limit)
	}
	if int64(len(body.whole)) > rules.limit {
		return body, tooLarge(rules.limit)
	}
	if !bytes.HasPrefix(body.whole, []byte(rules.magic)) {
		return body, relay.Refuse(relay.CodeInvalid, "the body does not begin with %q, as what this route takes does; nothing was stored", rules.magic)
	}
	if int64(len(body.whole)) > here {
		body.rest = src
		return body, nil
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // what follows is no reading; see hurry
	return body, nil
}

// hurry limits the time for a request's body, whether it is read here or, after
// a refusal, by the server, which reads on before it answers. The deadline is
// lifted only when the body is complete: it would end the request's context
// while the message is stored. The server sets its own for the next request.
func (e *Edge) hurry(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if c.Request().ContentLength != 0 {
			_ = http.NewResponseController(c.Response()).SetReadDeadline(time.Now().Add(e.BodyTimeout)) // a test's recorder has none
		}
		return next(c)
	}
}

// gzipBound is how long the gzip form of n bytes may be: what does not compress
// grows by less than a thousandth (RFC 1951, 3.2.4), and the header may hold a
// name. Without a bound empty members would go on for ever.
func gzipBound(n int64) int64 { return n + n/1000 + 1024 }

// readAll reads at most limit bytes into a buffer of the size that is expected.
func readAll(src io.Reader, limit, expect int64) ([]byte, error) {
	buf := make([]byte, 0, min(expect+512, limit, 1<<20))
	for int64(len(buf)) < limit {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := src.Read(buf[len(buf):min(int64(cap(buf)), limit)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
	return buf, nil
}

// bodyError says why a body could not be read.
func bodyError(err error, limit int64) error {
	var (
		netErr  net.Error
		tooMany *http.MaxBytesError
		corrupt flate.CorruptInputError
	)
	malformed := func(why string) error {
		return &relay.Error{Code: relay.CodeMalformed, Err: err, Detail: why + "; nothing was stored"}
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return &relay.Error{Code: relay.CodeTimeout, Err: err, Detail: "the body did not come within the time allowed; nothing was stored"}
	case errors.As(err, &tooMany):
		return tooLarge(limit)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return malformed("the body ended before it was complete")
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.As(err, &corrupt):
		return malformed("the body is not gzip, as Content-Encoding says, or it is damaged")
	default:
		return malformed("the body cannot be read")
	}
}

func tooLarge(limit int64) error {
	return relay.Refuse(relay.CodeTooLarge, "the body is larger than %d bytes, the limit here; nothing was stored", limit)
}

func checkMediaType(value string, allowed []string) error {
	if len(allowed) == 0 {
		return nil
	}
	media, _, err := mime.ParseMediaType(value)
	if err != nil || !slices.Contains(allowed, media) {
		return relay.Refuse(relay.CodeUnsupportedMediaType, "Content-Type is %q; this route takes %s", value, strings.Join(allowed, ", "))
	}
	return nil
}

// contentEncoding says what is on the body and whether it is taken off.
func contentEncoding(values []string, decodeGzip bool) (encoding string, decode bool, err error) {
	value := strings.ToLower(strings.TrimSpace(strings.Join(values, ",")))
	switch {
	case value == "" || value == "identity":
		return "", false, nil
	case !decodeGzip:
		return value, false, headerFit("Content-Encoding", value, maxHeaderValue)
	case value == "gzip" || value == "x-gzip":
		return value, true, nil
	default:
		return "", false, relay.Refuse(relay.CodeUnsupportedMediaType, "Content-Encoding is %q; this route takes gzip or none", value)
	}
}

// decodeJSON reads one JSON document as far as the shape looks at it; an error
// says where it ends.
func decodeJSON(body []byte, shape *schemas.Shape) (any, error) {
	doc, err := schemas.Sketch(body, shape)
	if err != nil {
		return nil, &relay.Error{Code: relay.CodeMalformed, Detail: "the body is not JSON " + err.Error()}
	}
	return doc, nil
}

// shapeOf is what is looked at of a route's bodies: by its schema, for its hosts,
// its lane and its key.
func shapeOf(r relay.Route) *schemas.Shape {
	shape := schemas.ShapeOf(r.Schema)
	for _, source := range slices.Concat(r.Hosts, r.Lane.From, r.Key.From, r.Kind) {
		switch {
		case source.Names:
			shape.WithNames(source.Pointer)
		case source.Pointer != "":
			shape.With(source.Pointer)
		}
	}
	return shape
}
