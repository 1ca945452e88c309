package outgoing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/theforeman/foreman-relay/relay"
)

// Service is a destination of kind http (relay.Destination): any service that
// takes requests, of which nothing but the status of an answer is known.
type Service struct {
	*Client
	Probed string      // path that a probe asks for; empty: the URL itself
	Now    relay.Clock // for Retry-After
}

// Deliver makes one attempt.
func (s *Service) Deliver(ctx context.Context, m *relay.Message) relay.Result {
	return s.Client.Deliver(ctx, m, Unchanged, func(a relay.Answer) relay.Result { return relay.ClassifyHTTP(a, s.Now()) })
}

// Probe asks for the head of a page: whoever answers anything is there, but for a
// gateway that says that nobody is behind it.
func (s *Service) Probe(ctx context.Context) error {
	target, err := s.Target(s.Probed)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, target, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", cmp.Or(s.options.UserAgent, "foreman-relay"))
	if s.authorization != "" {
		req.Header.Set("Authorization", s.authorization)
	}
	a := s.Do(req)
	switch {
	case a.Err != nil:
		return errors.New(relay.ClassifyError(a).Detail)
	case a.Status == http.StatusBadGateway, a.Status == http.StatusServiceUnavailable, a.Status == http.StatusGatewayTimeout:
		return fmt.Errorf("the probe is answered with %d", a.Status)
	}
	return nil
}
