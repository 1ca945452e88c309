package foreman

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/theforeman/foreman-relay/relay"
)

// maxRefusal bounds an answer that is no success, in bytes.
const maxRefusal = 1 << 20

// limitOf is how much of an answer is read, in bytes. One that is no success is
// read whole, so that it may not be large.
func limitOf(p relay.Pass, status int) int64 {
	if isSuccess(status) {
		return p.MaxAnswer
	}
	return min(p.MaxAnswer, maxRefusal)
}

func isSuccess(status int) bool { return status >= 200 && status <= 299 }

// judge says whether an answer is one of Foreman's that may be passed on, and
// reads it where it must be whole.
func judge(p relay.Pass, h http.Header, a *relay.PassAnswer) error {
	if err := judgeStatus(a.Status, h); err != nil {
		return err
	}
	if limit := limitOf(p, a.Status); a.Length > limit {
		return away("Foreman's answer has %d bytes, more than the %d that are passed on", a.Length, limit)
	}
	if !isSuccess(a.Status) {
		return keepRefusal(p, h, a)
	}
	if err := judgeHeader(p, a.Status, h); err != nil || !p.Whole {
		return err
	}
	body, err := readWhole(a)
	if err != nil || p.Check == nil {
		return err
	}
	if a.Status != http.StatusOK {
		return away("the answer to this has status %d, not 200", a.Status)
	}
	if err := p.Check(body); err != nil {
		return away("the answer to this is not what was asked for: %s", err)
	}
	return nil
}

// keepRefusal keeps what Foreman says where it does not answer; but what will be
// run in a shell only if it is surely Foreman's, and meant for that.
func keepRefusal(p relay.Pass, h http.Header, a *relay.PassAnswer) error {
	if _, err := readWhole(a); err != nil {
		return err
	}
	if p.Script != nil && (mediaOf(h) != "text/plain" || !hasVersion(h)) {
		a.Header.Set("Content-Type", "text/plain; charset=utf-8")
		a.Length, a.Body = int64(len(p.Script.Refused)), io.NopCloser(strings.NewReader(p.Script.Refused))
	}
	return nil
}

// judgeStatus: gateways say 502, 503 and 504 in Foreman's place, and a redirect
// leads to where the relay does not follow.
func judgeStatus(status int, h http.Header) error {
	switch {
	case status < 200:
		return away("the answer has status %d, which is none", status)
	case status >= 300 && status <= 399:
		return away("%s", relay.RedirectText(relay.Answer{Status: status, Header: http.Header{}})) // Location may repeat a token
	case status >= 502 && status <= 504 && !hasVersion(h):
		return away("Foreman does not answer: what stands before it says %d", status)
	}
	return nil
}

// judgeHeader: a 2xx that only looks like Foreman's is worse than none.
func judgeHeader(p relay.Pass, status int, h http.Header) error {
	media := mediaOf(h)
	encoding := h.Get("Content-Encoding")
	switch {
	case p.Versioned && !hasVersion(h):
		return away("what answers this is not Foreman: no version header")
	case media == "text/html" || media == "application/xhtml+xml" || media == "" && status != http.StatusNoContent:
		return away("the answer to this is a page (%q), not what was asked for", relay.Excerpt([]byte(media)))
	case len(p.Media) > 0 && !slices.Contains(p.Media, media):
		return away("the answer to this has the type %q; it must be one of %s", relay.Excerpt([]byte(media)), strings.Join(p.Media, ", "))
	case encoding != "" && encoding != "identity":
		return away("the answer to this is encoded (%q), though that was not asked for", relay.Excerpt([]byte(encoding)))
	}
	return nil
}

// mediaOf is the media type of an answer; empty: none, or none that can be read.
func mediaOf(h http.Header) string {
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return media
}

// readWhole replaces the answer's body by all of it, in memory, and gives the
// place back.
func readWhole(a *relay.PassAnswer) ([]byte, error) {
	body, err := io.ReadAll(a.Body)
	if err != nil {
		return nil, &relay.Error{Code: relay.CodeAway, Err: errors.New(relay.ErrorText(err)), Detail: "Foreman's answer did not come whole"}
	}
	if err := a.Body.Close(); err != nil {
		return nil, err
	}
	a.Length, a.Body = int64(len(body)), io.NopCloser(bytes.NewReader(body))
	return body, nil
}

// bounded is the body of an answer up to a number of bytes; the one after is an
// error. Closing it ends the exchange, once.
type bounded struct {
	src  io.ReadCloser
	left int64
	end  func()
}

func (b *bounded) Read(buf []byte) (int, error) {
	if b.left < 0 {
		return 0, errTooLarge
	}
	if int64(len(buf)) > b.left+1 {
		buf = buf[:b.left+1]
	}
	n, err := b.src.Read(buf)
	b.left -= int64(n)
	if b.left < 0 {
		return n - 1, errTooLarge
	}
	return n, err
}

var errTooLarge = errors.New("the answer is larger than what is passed on")

func (b *bounded) Close() error {
	if b.end == nil {
		return nil
	}
	err := b.src.Close()
	b.end()
	b.end = nil
	return err
}
