package handlers

import (
	"crypto/x509"
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
)

// CallerOptions say how it is found out who calls, and for whom he may speak.
type CallerOptions struct {
	Certificates *Certificates // of the listener; nil: no identity by TLS
	Forward      Forward       // identity from the headers of a reverse proxy
	// Required: nothing at all is answered to who has no good certificate.
	Required bool

	Rules []relay.IdentityRule        // the operator's, first
	More  func() []relay.IdentityRule // those of the organizations, after them; nil: none
	// Default takes the certificates that no rule takes, with SpeaksFor; empty:
	// they are refused.
	Default   string
	SpeaksFor relay.Hosts
	// Anonymous is the organization of who needs no certificate; empty: all do.
	Anonymous string

	// Hosts are known to belong to an organization; further ones, Remember at
	// most, are learnt from senders that speak for themselves.
	Hosts    map[string]string
	Remember int
	Now      relay.Clock // nil: the system's
	Log      zerolog.Logger
}

// Callers tell who calls.
type Callers struct {
	CallerOptions
	homes   *homes
	refused zerolog.Logger
}

// Refusals of callers are logged so often at most; all are counted.
const (
	refusalsLogged = 10
	refusalsPeriod = 10 * time.Second
)

// NewCallers makes Callers.
func NewCallers(o CallerOptions) *Callers {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Callers{CallerOptions: o, homes: newHomes(o.Hosts, o.Remember),
		refused: o.Log.Sample(&zerolog.BurstSampler{Burst: refusalsLogged, Period: refusalsPeriod})}
}

// inForce says whether callers have to say who they are.
func (c *Callers) inForce() bool {
	return c.Certificates != nil && c.Certificates.files.ClientCA != "" || len(c.Forward.From) > 0
}

// caller is what is known of who has sent a request.
type caller struct {
	credential *relay.Credential // nil: he has shown none, or refused says what is wrong with it
	refused    *relay.Error
	shown      string // name and fingerprint of what he has shown and was refused, for the log
	secure     bool   // over TLS, to the relay or to the proxy before it
}

// name is that of the caller for the log.
func (k caller) name() string {
	if k.credential == nil {
		return k.shown
	}
	return relay.Sender{Name: k.credential.CN, Fingerprint: k.credential.Fingerprint}.String()
}

const contextCaller = "caller"

// callerOf is who has sent a request.
func callerOf(c echo.Context) caller {
	k, _ := c.Get(contextCaller).(caller)
	return k
}

// recognize finds out who calls, once for each request, and counts and logs whom
// the edge refuses.
func (e *Edge) recognize(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		k := e.Callers.recognize(c.Request())
		c.Set(contextCaller, k)
		err := e.Callers.admits(k)
		if err == nil {
			err = next(c)
		}
		var refused *relay.Error
		if errors.As(err, &refused) && refused.Reason != "" {
			e.tellRefused(c, refused.Reason)
		}
		return err
	}
}

// admits refuses who has no good certificate where nobody without is let in.
func (c *Callers) admits(k caller) error {
	switch {
	case !c.Required:
		return nil
	case k.refused != nil:
		return k.refused
	case k.credential == nil:
		return noCertificate()
	}
	return nil
}

func noCertificate() *relay.Error {
	return notKnown(relay.RefusedNoCertificate, "no client certificate was shown: this needs one of a CA that is trusted here")
}

// tellRefused counts a caller who was refused, and logs some.
func (e *Edge) tellRefused(c echo.Context, reason string) {
	e.Metrics.refuseCaller(reason)
	e.Callers.refused.Warn().Str("reason", reason).Str("caller", callerOf(c).name()).Str("remote", c.Request().RemoteAddr).
		Str("method", c.Request().Method).Str("route", c.Path()).Str("request_id", requestID(c)).Msg("a caller was refused")
}

func (c *Callers) recognize(r *http.Request) caller {
	if said, from := c.Forward.take(r); from {
		return c.forwarded(said)
	}
	k := caller{secure: r.TLS != nil}
	if r.TLS == nil {
		return k
	}
	if c.Certificates == nil { // whoever made the connection has verified what was shown
		if len(r.TLS.VerifiedChains) > 0 && len(r.TLS.VerifiedChains[0]) > 0 {
			k.credential = credentialOf(r.TLS.VerifiedChains[0][0], nil)
		}
		return k
	}
	return c.certified(k, r.TLS.PeerCertificates)
}

// certified is the caller with what he has shown.
func (c *Callers) certified(k caller, shown []*x509.Certificate) caller {
	if k.credential, k.refused = c.Certificates.verify(shown); k.refused != nil {
		k.shown = caller{credential: credentialOf(shown[0], nil)}.name()
	}
	return k
}

// speaker is a sender, and whether requests are held against what he may. They
// are not on an edge that asks nobody who he is, and not those of an operator.
type speaker struct {
	relay.Sender
	held     bool
	operator bool
}

// sender is who has sent a request, by the rules.
func (c *Callers) sender(k caller) (relay.Sender, error) {
	switch {
	case !c.inForce():
		return c.nobodyAsked(k), nil
	case k.refused != nil:
		return relay.Sender{}, k.refused
	case k.credential == nil:
		return relay.Sender{}, noCertificate()
	}
	if s, ok := relay.Identify(c.Rules, *k.credential); ok {
		return s, nil
	}
	if c.More != nil {
		if s, ok := relay.Identify(c.More(), *k.credential); ok {
			return s, nil
		}
	}
	if c.Default != "" {
		s, _ := relay.Identify([]relay.IdentityRule{{Organization: c.Default, SpeaksFor: c.SpeaksFor}}, *k.credential)
		return s, nil
	}
	return relay.Sender{}, relay.Refuse(relay.CodeDenied, "no rule says to which organization this certificate belongs: "+
		"add one to identity.rules, or to an organization").Because(relay.RefusedNoRule)
}

// nobodyAsked is the sender where there is no identity: all are one.
func (c *Callers) nobodyAsked(k caller) relay.Sender {
	var credential relay.Credential
	if k.credential != nil {
		credential = *k.credential
	}
	s, _ := relay.Identify([]relay.IdentityRule{{Organization: c.Anonymous, SpeaksFor: relay.HostsAny}}, credential)
	return s
}

// speaker is who has sent a request for a route.
func (e *Edge) speaker(c echo.Context, anonymous bool) (speaker, error) {
	k := callerOf(c)
	if anonymous && k.credential == nil && k.refused == nil && e.Callers.Anonymous != "" {
		return speaker{Sender: relay.Sender{Organization: e.Callers.Anonymous}}, nil
	}
	who, err := e.Callers.sender(k)
	return speaker{Sender: who, held: e.Callers.inForce()}, err
}

// belongs refuses a sender for whose organization there is no such queue here.
func (e *Edge) belongs(who speaker, q relay.Queue) error {
	if !who.held || e.Known(q) {
		return nil
	}
	return relay.Refuse(relay.CodeDenied, "this certificate is of organization %q, for which this relay has no queue %s; nothing was stored", who.Organization, q).
		Because(relay.RefusedUnknown)
}

// foreign says whether a queue is none of the sender's, without looking whether
// it exists: the answer, and the time that it takes, do not tell.
func (e *Edge) foreign(c echo.Context, who speaker, q relay.Queue) bool {
	if !who.held || q.Organization == who.Organization {
		return false
	}
	e.tellRefused(c, relay.RefusedForeign)
	return true
}
