package outgoing

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// proxy is the configured proxy with its credentials, which are in no error;
// nil: none. TLS with the destination goes through it unread (CONNECT).
func (o Options) proxy() (*url.URL, error) {
	if o.Proxy == "" {
		if o.ProxyAuthorizationFile != "" {
			return nil, fmt.Errorf("credentials are given for a proxy to %s, but no proxy", o.Name)
		}
		return nil, nil //nolint:nilnil // no proxy is no error
	}
	u, err := o.parseProxy()
	if err != nil || o.ProxyAuthorizationFile == "" {
		return u, err
	}
	secret, err := ReadSecret(o.ProxyAuthorizationFile)
	if err != nil {
		return nil, fmt.Errorf("authorization for the proxy to %s: %w", o.Name, err)
	}
	user, password, found := strings.Cut(secret, ":")
	if !found || user == "" {
		return nil, fmt.Errorf("authorization for the proxy to %s: %s must hold one line, USER:PASSWORD", o.Name, o.ProxyAuthorizationFile)
	}
	u.User = url.UserPassword(user, password)
	return u, nil
}

// CheckProxy is for who has a proxy and makes no client: what is wrong with it, a
// password in it for one, which would be shown with the configuration.
func (o Options) CheckProxy() error {
	_, err := o.parseProxy()
	return err
}

func (o Options) parseProxy() (*url.URL, error) {
	u, err := url.Parse(o.Proxy)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the proxy for %s cannot be read; write http://HOST:PORT", o.Name) // err would repeat a password in it
	case u.User != nil:
		return nil, fmt.Errorf("the proxy for %s holds a user; write USER:PASSWORD into a file and name it in proxy_authorization_file", o.Name)
	case u.Scheme != "http" || u.Hostname() == "" || u.Port() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("the proxy for %s is none that can be used; write http://HOST:PORT (a proxy that is itself spoken to over TLS is not)", o.Name)
	}
	u.Path = ""
	return u, nil
}

// errProxyRefuses is of the configuration, not of the message.
var errProxyRefuses = errors.New("the proxy wants other credentials (407): name a file with them in proxy_authorization_file")

// proxyAnswer makes an error of a proxy that does not open the way.
func proxyAnswer(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusProxyAuthRequired:
		return errProxyRefuses
	}
	return fmt.Errorf("the proxy answers %d: it does not reach the destination, or does not let the relay there", resp.StatusCode)
}
