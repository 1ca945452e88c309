package handlers

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// bodyRules say how a request's body is read.
type bodyRules struct {
	limit        int64 // bytes, after decoding
	contentTypes []string
	decodeGzip   bool // else the encoding is kept as it is
	timeout      time.Duration
}

// readBody reads the body of a request: at most one byte more than the limit,
// and no longer than the timeout. It returns the encoding that is still on it.
func readBody(w http.ResponseWriter, r *http.Request, rules bodyRules) (body []byte, encoding string, err error) {
	if err := checkMediaType(r.Header.Get("Content-Type"), rules.contentTypes); err != nil {
		return nil, "", err
	}
	encoding, decode, err := contentEncoding(r.Header.Values("Content-Encoding"), rules.decodeGzip)
	if err != nil {
		return nil, "", err
	}
	if r.ContentLength > rules.limit {
		return nil, "", tooLarge(rules.limit)
	}
	deadline := time.Now().Add(rules.timeout)
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(deadline); err == nil {
		defer func() { _ = control.SetReadDeadline(time.Time{}) }() // the next request has its own
	}
	var src io.Reader = r.Body
	if decode {
		if src, err = gzip.NewReader(io.LimitReader(r.Body, rules.limit+1)); err != nil {
			return nil, "", bodyError(err, "the body is not gzip, although Content-Encoding says so")
		}
		encoding = ""
	}
	body, err = readAll(src, rules.limit+1, max(0, r.ContentLength))
	if err != nil {
		return nil, "", bodyError(err, "the body ended before it was complete")
	}
	if int64(len(body)) > rules.limit {
		return nil, "", tooLarge(rules.limit)
	}
	return body, encoding, nil
}

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

func bodyError(err error, incomplete string) error {
	var netErr net.Error
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return &relay.Error{Code: relay.CodeTimeout, Err: err, Detail: "the body did not come within the time allowed; nothing was stored"}
	default:
		return &relay.Error{Code: relay.CodeMalformed, Err: err, Detail: incomplete + "; nothing was stored"}
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
		return value, false, headerFit("Content-Encoding", value)
	case value == "gzip" || value == "x-gzip":
		return value, true, nil
	default:
		return "", false, relay.Refuse(relay.CodeUnsupportedMediaType, "Content-Encoding is %q; this route takes gzip or none", value)
	}
}

// decodeJSON reads one JSON document; an error says where it ends.
func decodeJSON(body []byte) (any, error) {
	var doc any
	err := json.Unmarshal(body, &doc)
	if err == nil {
		return doc, nil
	}
	where := ""
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		where = fmt.Sprintf(" at byte %d", syntax.Offset)
	}
	return nil, &relay.Error{Code: relay.CodeMalformed, Detail: "the body is not JSON" + where + ": " + err.Error()}
}
