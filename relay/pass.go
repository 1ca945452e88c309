package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Pass says which requests are passed on to a destination while the caller
// waits, because nobody else can answer them. Nothing of them is stored. Passes
// are data, as routes are.
type Pass struct {
	Name    string
	Methods []string
	Paths   []string // echo patterns
	Except  []string // last parts of the path that are not meant
	Target  string   // path at the destination, with the parameters of Paths; empty: as it came, with its query

	Timeout   time.Duration // of the whole exchange
	MaxBody   int64         // bytes of the request
	MaxAnswer int64         // bytes

	// Whole: the caller gets nothing of an answer before all of it is there and
	// was found good. Else it is streamed, and one that breaks off or is larger
	// than MaxAnswer ends with the caller's connection.
	Whole bool
	// Check judges the whole body of a 200, the one 2xx that is good then. nil: any 2xx.
	Check func(body []byte) error
	// Media are the types that a 2xx may have; none: any but HTML.
	Media []string
	// Versioned: a 2xx carries the version header of the destination's API.
	Versioned bool
	// Keep: the last good answer may be given when there is none.
	Keep bool
	// Credentials: the caller's Authorization header goes along.
	Credentials bool
	// Trusted: the destination answers this to the relay's certificate, so that
	// not everybody who reaches the relay may ask.
	Trusted bool
	// Secret: the answer is about others than the caller, so that of trusted
	// callers those alone may ask whom the operator has named, if any are.
	Secret bool
	// Script: the caller runs whatever it is told in a shell.
	Script *Script
}

// Script is what is told to a caller that pipes every answer into a shell. The
// texts are constant: nothing of a request or an answer gets into them.
type Script struct {
	Away    string // the destination could not be asked
	Refused string // it was, and refused, or the relay did
}

// PassRequest is one request that is passed on.
type PassRequest struct {
	Method string
	Path   string // at the destination, with query
	Body   []byte
	Header http.Header // what may go along
	Client string      // address of the caller, without port
}

// Permits says why a request is none of p, if it is not. The edge makes none that
// is not; whoever is asked over a channel asks again, since the edge faces the
// world.
func (p Pass) Permits(r PassRequest) error {
	path, _, query := strings.Cut(r.Path, "?")
	targets := p.Paths
	if p.Target != "" {
		targets = []string{p.Target}
	}
	switch {
	case !slices.Contains(p.Methods, r.Method):
		return fmt.Errorf("%s is not asked with %q", p.Name, r.Method)
	case query && p.Target != "":
		return fmt.Errorf("%s has no query", p.Name)
	case int64(len(r.Body)) > p.MaxBody:
		return fmt.Errorf("%s has a body of %d bytes; %d may be", p.Name, len(r.Body), p.MaxBody)
	}
	if err := CheckPath(path); err != nil {
		return err
	}
	if !slices.ContainsFunc(targets, func(t string) bool { return p.leadsTo(t, path) }) {
		return fmt.Errorf("%s is not at this path", p.Name)
	}
	for name := range r.Header {
		if !p.Carries(name) {
			return fmt.Errorf("%s goes without the header %q", p.Name, name)
		}
	}
	return nil
}

// leadsTo says whether an encoded path is one of a pattern.
func (p Pass) leadsTo(pattern, path string) bool {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return false
	}
	for i, part := range got {
		if !strings.HasPrefix(want[i], ":") {
			if part != want[i] {
				return false
			}
			continue
		}
		plain, err := url.PathUnescape(part)
		if err != nil || plain == "" || slices.Contains(p.Except, plain) {
			return false
		}
	}
	return true
}

// Carries says whether a header of the caller, by its canonical name, goes along.
func (p Pass) Carries(name string) bool {
	switch name {
	case "Accept", "Content-Type", "X-Request-Id":
		return true
	case "Authorization":
		return p.Credentials
	default:
		return strings.HasPrefix(name, "X-Rhn-")
	}
}

// PassAnswer is what the destination said.
type PassAnswer struct {
	Status int
	Header http.Header   // what may be passed on
	Length int64         // of Body in bytes; -1: not known yet
	Body   io.ReadCloser // close it; an error of Read means that the answer is not complete
}

// PassedOn are the headers of an answer that a caller may see; no cookies, and
// nothing that says how long it is. The edge asks it too of what a drain says.
func PassedOn(h http.Header) http.Header {
	kept := http.Header{}
	for _, name := range []string{"Content-Type", "Content-Disposition", "Last-Modified", "Etag", "Retry-After"} {
		if values := h.Values(name); len(values) > 0 {
			kept[name] = values
		}
	}
	return kept
}

// ErrBusy is wrapped by the error of a Passer that has no place for a further
// request.
var ErrBusy = errors.New("as many requests as may be are being passed on")

// Passer asks a destination for an answer while the caller waits.
//
// Pass returns an answer of any status that the destination really gave. Its
// error is an *Error with CodeAway: nobody was there, or what answered was not
// the destination, or the answer was not one that p calls good. A request other
// than GET may then have reached the destination all the same. It does not
// retry, and all of it, reading Body too, takes p.Timeout at most.
type Passer interface {
	Pass(ctx context.Context, p Pass, r PassRequest) (*PassAnswer, error)
}
