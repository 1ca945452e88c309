package cmd

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/theforeman/foreman-relay/relay/outgoing"
)

// Reach is how a destination is reached: TLS, proxy and addresses are its own.
type Reach struct {
	URL        string `yaml:"url" json:"url"`
	CA         string `yaml:"ca" json:"ca"`     // of its certificate; empty: the system's
	Cert       string `yaml:"cert" json:"cert"` // by which it knows the relay
	Key        string `yaml:"key" json:"key"`
	ServerName string `yaml:"server_name" json:"server_name"` // that its certificate is for; empty: the host in url
	MinTLS     string `yaml:"min_tls" json:"min_tls"`         // 1.2 or 1.3
	HTTP2      *bool  `yaml:"http2" json:"http2"`             // where it offers it

	Proxy                  string   `yaml:"proxy" json:"proxy"` // http://HOST:PORT; the environment's is not used
	ProxyAuthorizationFile string   `yaml:"proxy_authorization_file" json:"proxy_authorization_file"`
	AllowAddresses         []string `yaml:"allow_addresses" json:"allow_addresses"` // where its name may lead although they are inward: addresses and networks
}

var tlsVersions = map[string]uint16{"": tls.VersionTLS12, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// filled is r with what goes without saying.
func (r Reach) filled(http2 bool) Reach {
	r.MinTLS = cmp.Or(r.MinTLS, "1.2")
	if r.HTTP2 == nil {
		r.HTTP2 = &http2
	}
	if r.AllowAddresses == nil {
		r.AllowAddresses = []string{}
	}
	return r
}

// check is of what can be seen without the files.
func (r Reach) check(key string) error {
	_, err := outgoing.ParseAllow(r.AllowAddresses)
	if err != nil {
		err = fmt.Errorf("%s.allow_addresses: %w", key, err)
	}
	if (r.Cert == "") != (r.Key == "") {
		err = errors.Join(err, fmt.Errorf("%s.cert and %s.key must be given together", key, key))
	}
	if r.URL == "" && r.Proxy != "" { // no client is made, which would look at it
		err = errors.Join(err, outgoing.Options{Name: key, Proxy: r.Proxy}.CheckProxy())
	}
	return errors.Join(err, among(key+".min_tls", r.MinTLS, []string{"", "1.2", "1.3"}),
		exists(key+".ca", r.CA), exists(key+".cert", r.Cert), exists(key+".key", r.Key),
		exists(key+".proxy_authorization_file", r.ProxyAuthorizationFile))
}

// options are those of the requests to it.
func (r Reach) options(timeout time.Duration, connections int) outgoing.Options {
	allow, _ := outgoing.ParseAllow(r.AllowAddresses) // checked before
	return outgoing.Options{URL: r.URL, CAFile: r.CA, CertFile: r.Cert, KeyFile: r.Key, ServerName: r.ServerName, MinVersion: tlsVersions[r.MinTLS],
		HTTP2: r.HTTP2 != nil && *r.HTTP2, Proxy: r.Proxy, ProxyAuthorizationFile: r.ProxyAuthorizationFile, Allow: allow,
		AttemptTimeout: timeout, Connections: connections, UserAgent: "foreman-relay/" + Version()}
}
