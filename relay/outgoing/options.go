package outgoing

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// Limits of an exchange.
const (
	DefaultAttemptTimeout = 60 * time.Second // Foreman's own proxy_request_timeout
	DefaultMaxAnswer      = 64 << 10         // bytes of an answer that are read for judging
	maxDrain              = 1 << 20          // bytes of an answer that are read to keep the connection
	maxAnswerHeader       = 64 << 10
	dialTimeout           = 10 * time.Second
	handshakeTimeout      = 10 * time.Second
	// idleTimeout is below Apache's default KeepAliveTimeout of 5 s: a request that
	// meets a closing connection is lost, and looks like an outage.
	idleTimeout = 4 * time.Second
	// All attempts may share one connection of HTTP/2: one that is dead must not
	// cost each of them its time.
	pingAfter   = 15 * time.Second
	pingTimeout = 10 * time.Second
)

// Options make a Client.
type Options struct {
	Name string // what errors call the destination, for example "Foreman"
	URL  string // http or https, without user, query and fragment

	CAFile            string // of the destination's certificate; empty: the system's
	CertFile, KeyFile string // the client certificate by which it knows the relay
	ServerName        string // that its certificate is for; empty: the host of URL
	MinVersion        uint16 // of TLS; 0: TLS 1.2
	HTTP2             bool   // where the destination offers it

	Proxy                  string // http://HOST:PORT; empty: none, whatever the environment says
	ProxyAuthorizationFile string // holds USER:PASSWORD
	AuthorizationFile      string // holds the value of the header Authorization

	Allow    []netip.Prefix // addresses that are not refused (relay.DialGuard)
	Outward  bool           // no operator has written the URL: its own host is no permission (relay.CheckOutward)
	Resolver *net.Resolver  // nil: the system's

	AttemptTimeout time.Duration // 0: DefaultAttemptTimeout
	Connections    int           // kept open for use again
	MaxAnswer      int64         // bytes that are read of an answer; 0: DefaultMaxAnswer
	UserAgent      string

	// Credentials are shown in place of the relay's own for the messages of an
	// organization.
	Credentials map[string]relay.Credentials
}

// New checks the options and reads the files; an error names what is wrong with
// which.
func New(o Options) (*Client, error) {
	o.Name = cmp.Or(o.Name, "the destination")
	o.AttemptTimeout = cmp.Or(o.AttemptTimeout, DefaultAttemptTimeout)
	o.MaxAnswer = cmp.Or(o.MaxAnswer, DefaultMaxAnswer)
	base, err := o.parseURL()
	if err != nil {
		return nil, err
	}
	transport, err := o.transport(base)
	if err != nil {
		return nil, err
	}
	c := &Client{options: o, base: base, http: &http.Client{Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if o.AuthorizationFile != "" {
		if c.authorization, err = ReadSecret(o.AuthorizationFile); err != nil {
			return nil, fmt.Errorf("authorization for %s: %w", o.Name, err)
		}
	}
	return c, c.prepareWays()
}

func (o Options) parseURL() (*url.URL, error) {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the URL of %s cannot be read; write https://HOST[:PORT]", o.Name) // err would repeat a password in it
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, fmt.Errorf("the URL of %s is %q; write https://HOST[:PORT]", o.Name, u.Redacted())
	case u.User != nil:
		return nil, fmt.Errorf("the URL of %s holds a user, which would be told to whoever sees the URL; give a client certificate instead, or, where there is such a setting, authorization_file", o.Name)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		u.RawQuery, u.Fragment, u.ForceQuery = "", "", false // it may be a token
		return nil, fmt.Errorf("the URL of %s is %q and more; write it without query and fragment", o.Name, u)
	}
	if o.Outward {
		if err := relay.CheckOutward(u.Hostname()); err != nil {
			return nil, fmt.Errorf("the URL of %s: %w", o.Name, err)
		}
	}
	return u, nil
}

// transport holds the connections of one destination.
func (o Options) transport(base *url.URL) (*http.Transport, error) {
	config, err := o.tls()
	if err != nil {
		return nil, err
	}
	proxy, err := o.proxy()
	if err != nil {
		return nil, err
	}
	t := &http.Transport{TLSClientConfig: config, TLSHandshakeTimeout: handshakeTimeout,
		MaxIdleConnsPerHost: max(2, o.Connections), IdleConnTimeout: idleTimeout,
		MaxResponseHeaderBytes: maxAnswerHeader, DisableCompression: true,
		Protocols: &http.Protocols{}, HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout}}
	t.Protocols.SetHTTP1(true)
	t.Protocols.SetHTTP2(o.HTTP2)
	meant := base.Hostname()
	if proxy != nil { // nothing else is dialled
		meant = proxy.Hostname()
		t.Proxy, t.OnProxyConnectResponse = http.ProxyURL(proxy), proxyAnswer
	}
	dialer := &net.Dialer{Timeout: dialTimeout, Resolver: o.Resolver, Control: relay.DialGuard(meant, o.Allow...)}
	t.DialContext = dialer.DialContext
	return t, nil
}

// ParseAllow reads addresses and networks: 127.0.0.1, 10.1.0.0/16, fd00::/8.
func ParseAllow(list []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	var problems []error
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			var ip netip.Addr
			if ip, err = netip.ParseAddr(s); err == nil {
				p = netip.PrefixFrom(ip, ip.BitLen())
			}
		}
		if err != nil || !p.IsValid() {
			problems = append(problems, fmt.Errorf("%q is neither an address nor a network; write 127.0.0.1 or 10.1.0.0/16", s))
			continue
		}
		all = append(all, p.Masked())
	}
	return all, errors.Join(problems...)
}
