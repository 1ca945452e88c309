package handlers

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/theforeman/foreman-relay/relay"
)

// PassOptions are about requests that only the destination can answer.
type PassOptions struct {
	Passes []relay.Pass
	Passer relay.Passer // not asked while Closed says why
	// Closed says why nothing can be passed on at this moment; empty: it can.
	Closed func() string
	// Loopback: only this machine reaches the edge, so that every caller is
	// trusted; else those with a verified certificate are.
	Loopback bool
	// Callers are the names in certificates that may ask for what is secret: every
	// host has a certificate of Puppet's CA, and a node's answer is not for all.
	Callers      []string
	StaleEntries int   // last good answers that are kept; 0: none
	StaleBytes   int64 // of these together
}

// Headers of a last good answer that is given in place of a new one.
const (
	headerStale = "Relay-Stale"
	headerAge   = "Age" // in seconds (RFC 9111, 5.1)
)

// What became of a request that is passed on; labels of a metric.
const (
	passPassed  = "passed"  // the destination's answer, of whatever status
	passStale   = "stale"   // the last good one
	passAway    = "away"    // 503: the destination gave no answer, or none that is one
	passBusy    = "busy"    // 503: no place
	passRefused = "refused" // by the relay: who asks may not, or the request is not one to pass on
	passCut     = "cut"     // the answer broke off, or was too large, while it was streamed
)

var passOutcomes = [...]string{passPassed, passStale, passAway, passBusy, passRefused, passCut}

// addPasses adds what is passed on.
func (e *Edge) addPasses() {
	e.last = newLastGood(e.Pass.StaleEntries, e.Pass.StaleBytes)
	e.Metrics.expectPasses(e.Pass.Passes)
	for _, p := range e.Pass.Passes {
		for _, path := range p.Paths {
			for _, method := range p.Methods {
				e.echo.Add(method, path, e.passOn(p)).Name = p.Name
			}
		}
	}
}

// passOf is the pass that takes this path, whatever the method.
func (e *Edge) passOf(c echo.Context) (relay.Pass, bool) {
	for _, p := range e.Pass.Passes {
		if slices.Contains(p.Paths, c.Path()) {
			return p, true
		}
	}
	return relay.Pass{}, false
}

// contextScript holds what a caller that pipes every answer into a shell is told.
const contextScript = "script"

// knowScript makes every refusal of a request one that its caller can run.
func (e *Edge) knowScript(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if p, ok := e.passOf(c); ok && p.Script != nil {
			c.Set(contextScript, p.Script)
		}
		return next(c)
	}
}

// scriptFor is the script for a refusal.
func scriptFor(s *relay.Script, code relay.Code) string {
	if code == relay.CodeAway || code == relay.CodeUnavailable {
		return s.Away
	}
	return s.Refused
}

// passOn answers a request with what the destination says to it, with its last
// good answer, or at once with a refusal.
func (e *Edge) passOn(p relay.Pass) echo.HandlerFunc {
	return func(c echo.Context) error {
		r, err := e.passRequest(c, p)
		if err != nil {
			e.Metrics.pass(p.Name, passRefused)
			return err
		}
		key := lastGoodKey(c.Request())
		answer, err := e.ask(c, p, r)
		if err == nil && p.Keep {
			err = e.remember(key, answer)
		}
		if p.Keep && (err != nil || answer.Status >= http.StatusInternalServerError) {
			if kept, age, ok := e.last.find(key, e.Now()); ok {
				return e.giveKept(c, p, kept, age, err)
			}
		}
		if err != nil {
			e.tellPass(c, p, outcomeOf(err), err)
			return err
		}
		return e.relayAnswer(c, p, answer)
	}
}

// ask asks the destination, where it can be asked.
func (e *Edge) ask(c echo.Context, p relay.Pass, r relay.PassRequest) (*relay.PassAnswer, error) {
	if why := e.Pass.Closed(); why != "" {
		return nil, relay.Refuse(relay.CodeAway, "%s", why)
	}
	return e.Pass.Passer.Pass(c.Request().Context(), p, r)
}

// remember keeps a good answer, and forgets it when the destination says that
// there is nothing any more.
func (e *Edge) remember(key string, a *relay.PassAnswer) error {
	switch a.Status {
	case http.StatusOK:
		return e.last.keep(key, a, e.Now())
	case http.StatusNotFound, http.StatusGone:
		e.last.drop(key)
	}
	return nil
}

// giveKept gives the caller the last good answer; the headers say that it is one.
func (e *Edge) giveKept(c echo.Context, p relay.Pass, kept *relay.PassAnswer, age time.Duration, why error) error {
	if why == nil {
		why = errors.New("the destination answers that it has failed")
	}
	e.tellPass(c, p, passStale, why)
	h := c.Response().Header()
	h.Set(headerStale, "true")
	h.Set(headerAge, strconv.Itoa(int(age/time.Second)))
	_ = writeAnswer(c, kept) // the caller may have gone
	return nil
}

// relayAnswer gives the caller the destination's answer. Once it has begun, the
// end of the connection is all that can say that it is not complete.
func (e *Edge) relayAnswer(c echo.Context, p relay.Pass, a *relay.PassAnswer) error {
	defer func() { _ = a.Body.Close() }() // whatever of it counts was read
	// A caller that does not read holds its place no longer than one that does.
	_ = http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(p.Timeout)) // a test's recorder has none
	if err := writeAnswer(c, a); err != nil {
		e.tellPass(c, p, passCut, err)
		panic(http.ErrAbortHandler)
	}
	e.tellPass(c, p, passPassed, nil)
	return nil
}

func writeAnswer(c echo.Context, a *relay.PassAnswer) error {
	h := c.Response().Header()
	for name, values := range a.Header {
		h[name] = values
	}
	if a.Length >= 0 && a.Status != http.StatusNoContent {
		h.Set("Content-Length", strconv.FormatInt(a.Length, 10))
	}
	c.Response().WriteHeader(a.Status)
	_, err := io.Copy(c.Response(), a.Body)
	return err
}

// tellPass counts what became of a request and logs why it was not passed on.
func (e *Edge) tellPass(c echo.Context, p relay.Pass, outcome string, err error) {
	e.Metrics.pass(p.Name, outcome)
	if err != nil {
		e.Log.Warn().Err(err).Str("route", p.Name).Str("outcome", outcome).Str("request_id", requestID(c)).Msg("not answered by the destination")
	}
}

func outcomeOf(err error) string {
	switch {
	case errors.Is(err, relay.ErrBusy):
		return passBusy
	default:
		return passAway
	}
}

// passRequest is what goes to the destination: the request, without what is
// only between the caller and the relay.
func (e *Edge) passRequest(c echo.Context, p relay.Pass) (relay.PassRequest, error) {
	req := c.Request()
	if err := e.allow(c, p); err != nil {
		return relay.PassRequest{}, err
	}
	if err := noCredentials(req.Header); err != nil {
		return relay.PassRequest{}, err
	}
	path, err := passPath(c, p)
	if err != nil {
		return relay.PassRequest{}, err
	}
	body, err := readBody(c.Response(), req, bodyRules{limit: p.MaxBody})
	if err != nil {
		return relay.PassRequest{}, err
	}
	if body.encoding != "" {
		return relay.PassRequest{}, relay.Refuse(relay.CodeUnsupportedMediaType, "Content-Encoding is %q; what is passed on must have none", body.encoding)
	}
	client, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		client = req.RemoteAddr
	}
	return relay.PassRequest{Method: req.Method, Path: path, Body: body.whole, Header: passHeader(c, p), Client: client}, nil
}

// allow refuses a caller who may not ask, and one whose organization is off or has
// asked too much.
func (e *Edge) allow(c echo.Context, p relay.Pass) error {
	if p.Trusted && !e.Pass.Loopback {
		if err := e.trusts(c, p); err != nil {
			return err
		}
	}
	who, err := e.speaker(c, !p.Trusted || e.Pass.Loopback)
	if err != nil {
		return err
	}
	if err := e.belongs(who, relay.Queue{Organization: who.Organization, Destination: relay.ForemanDestination}); err != nil {
		return err
	}
	_, err = e.admit(c, who, who.Organization)
	return err
}

// trusts refuses a caller without a certificate, or without the one that what he
// asks for is for.
func (e *Edge) trusts(c echo.Context, p relay.Pass) error {
	k := callerOf(c)
	if k.refused != nil {
		return k.refused
	}
	if k.credential == nil {
		return e.Callers.uncertified()
	}
	who, err := e.speaker(c, false)
	if err != nil {
		return err
	}
	if p.Secret && !slices.ContainsFunc(namesOf(k.credential), e.Pass.isCaller) {
		return relay.Refuse(relay.CodeDenied, "the name in this certificate is not among pass_through.callers, who may ask for this: "+
			"name the Puppet server (or Salt master) there").Because(relay.RefusedHost)
	}
	if p.Secret {
		return e.mayAskAbout(c, who)
	}
	return nil
}

// uncertified is what who has no certificate is told, where what he asks for is
// for nobody without.
func (c *Callers) uncertified() error {
	if c.inForce() {
		return noCertificate()
	}
	return relay.Refuse(relay.CodeDenied, "this may hold secrets and is for callers with a certificate alone: configure --tls-client-ca, or ask over loopback").
		Because(relay.RefusedNoCertificate)
}

func (o PassOptions) isCaller(name string) bool {
	return slices.ContainsFunc(o.Callers, func(caller string) bool { return strings.EqualFold(caller, name) })
}

// namesOf are the names that a certificate is for; the common name counts where
// there are no others (contract, 2.3).
func namesOf(c *relay.Credential) []string {
	if len(c.DNSNames) > 0 {
		return c.DNSNames
	}
	return []string{c.CN}
}

// passPath is the request's path at the destination.
func passPath(c echo.Context, p relay.Pass) (string, error) {
	for _, name := range c.ParamNames() {
		value, err := pathParam(c, name)
		if err != nil {
			return "", err
		}
		// echo's last parameter takes all that is left of a path
		if strings.Contains(c.Param(name), "/") || slices.Contains(p.Except, value) {
			return "", relay.Refuse(relay.CodeNotFound, "this is not passed on")
		}
	}
	if p.Target == "" {
		return c.Request().URL.RequestURI(), nil
	}
	path := p.Target
	for _, name := range c.ParamNames() {
		value, err := pathParam(c, name)
		if err != nil {
			return "", err
		}
		path = strings.ReplaceAll(path, ":"+name, url.PathEscape(value))
	}
	return path, nil
}

// passHeader are the headers that go along; the addresses that a caller says it
// comes from do not.
func passHeader(c echo.Context, p relay.Pass) http.Header {
	kept := http.Header{}
	for name, values := range c.Request().Header {
		if p.Carries(name) {
			kept[name] = values
		}
	}
	kept.Set(headerRequestID, requestID(c))
	return kept
}

// lastGoodKey: what a last good answer is the answer to. The order of a query's
// parameters does not matter.
func lastGoodKey(r *http.Request) string { return r.URL.EscapedPath() + "?" + r.URL.Query().Encode() }
