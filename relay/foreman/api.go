package foreman

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/theforeman/foreman-relay/relay"
)

// maxAPIAnswer bounds what is read of an answer of the API, in bytes: a proxy of
// a thousand organizations has some 200 kB.
const maxAPIAnswer = 4 << 20

// API is Foreman's own API, asked as one of its users. A smart proxy's
// certificate is not enough for it (contract, 2.2).
type API struct {
	client      *Client
	credentials Credentials
}

// API asks as this user. It refuses to send a password in the clear over a
// network.
func (c *Client) API(who Credentials) (*API, error) {
	base := c.out.URL()
	host := base.Hostname()
	if ip := net.ParseIP(host); base.Scheme != "https" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("the URL of Foreman is %s: a password is not sent without TLS, write https://", base)
	}
	return &API{client: c, credentials: who}, nil
}

// apiError is an answer of the API that is none of success.
type apiError struct {
	status int
	// text is what Foreman says, fields what it says of each field ("base": of all).
	text   string
	fields map[string][]string
}

func (e *apiError) Error() string { return fmt.Sprintf("Foreman answers %d: %s", e.status, e.text) }

// has says whether Foreman says this of the field.
func (e *apiError) has(field, part string) bool {
	return strings.Contains(strings.Join(e.fields[field], "\n"), part)
}

// call makes one exchange; into may be nil.
func (a *API) call(ctx context.Context, method, path string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, a.client.options.AttemptTimeout)
	defer cancel()
	req, err := a.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	resp, err := a.client.out.Send(req)
	if err != nil {
		return relay.Refuse(relay.CodeUnavailable, "Foreman at %s does not answer: %s", a.client.out.URL(), relay.ErrorText(err))
	}
	defer func() { _ = resp.Body.Close() }() // what was read counts
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAPIAnswer+1))
	switch {
	case err != nil:
		return relay.Refuse(relay.CodeUnavailable, "the answer of Foreman at %s broke off: %s", a.client.out.URL(), relay.ErrorText(err))
	case len(text) > maxAPIAnswer:
		return relay.Refuse(relay.CodeInternal, "the answer of Foreman at %s has more than %d bytes", a.client.out.URL(), maxAPIAnswer)
	case resp.StatusCode >= 200 && resp.StatusCode <= 299 && hasVersion(resp.Header):
		return decodeAnswer(text, into)
	}
	return a.refused(resp, text)
}

func (a *API) request(ctx context.Context, method, path string, body any) (*http.Request, error) {
	target, err := a.client.out.Target(path)
	if err != nil {
		return nil, err
	}
	var text []byte
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(a.credentials.User, a.credentials.secret)
	req.Header.Set("Accept", "application/json,version=2")
	req.Header.Set("Accept-Language", "en") // what a 422 means is known by its words, and Foreman translates them
	req.Header.Set("User-Agent", a.client.options.UserAgent)
	if method != http.MethodGet {
		req.Header.Set("Content-Type", jsonMedia)
	}
	return req, nil
}

func decodeAnswer(text []byte, into any) error {
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return relay.Refuse(relay.CodeInternal, "the answer of Foreman cannot be read: %s", err)
	}
	return nil
}

// refused is the error behind an answer that is no success.
func (a *API) refused(resp *http.Response, text []byte) error {
	var answer struct {
		Message string          `json:"message"`
		Error   json.RawMessage `json:"error"`
	}
	var inner struct {
		Message string              `json:"message"`
		Details string              `json:"details"`
		Errors  map[string][]string `json:"errors"`
		Full    []string            `json:"full_messages"`
	}
	isJSON := json.Unmarshal(text, &answer) == nil
	_ = json.Unmarshal(answer.Error, &inner) // an older form has a text there, or nothing
	e := &apiError{status: resp.StatusCode, fields: inner.Errors}
	for _, part := range append([]string{answer.Message, inner.Message, inner.Details}, inner.Full...) {
		if part != "" {
			e.text += "; " + part
		}
	}
	e.text = relay.Excerpt([]byte(strings.TrimPrefix(e.text, "; ")))
	url := a.client.out.URL()
	switch {
	case resp.StatusCode == http.StatusUnauthorized && isJSON:
		return relay.Refuse(relay.CodeDenied, "Foreman at %s does not let %s in (401): %s. Check login and password or token; after 30 failures within 5 minutes Foreman shuts this address out", url, a.credentials, e.text)
	case resp.StatusCode >= 500:
		return relay.Refuse(relay.CodeUnavailable, "Foreman at %s has failed or is being maintained (%d): %s; try again later", url, resp.StatusCode, e.text)
	case resp.StatusCode >= 300 && resp.StatusCode <= 399:
		return relay.Refuse(relay.CodeUnavailable, "%s: %s", url, relay.RedirectText(relay.Answer{Status: resp.StatusCode, Header: resp.Header}))
	case !hasVersion(resp.Header):
		return relay.Refuse(relay.CodeUnavailable, "what answers at %s (%d) is not Foreman: no version header; correct the URL", url, resp.StatusCode)
	case resp.StatusCode == http.StatusForbidden:
		return relay.Refuse(relay.CodeDenied, "Foreman at %s does not allow %s this (403): %s", url, a.credentials, e.text)
	}
	return e
}

// asAPIError is the API's own error in an error, if there is one.
func asAPIError(err error) (*apiError, bool) {
	var e *apiError
	return e, errors.As(err, &e)
}

// quoteSearch is a text within a search of Foreman's (scoped_search): in double
// quotes, with a backslash before those in it.
func quoteSearch(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
