package handlers_test

import (
	"context"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// waiting is an intake that takes longer than a body may, and tells whether its
// context ended meanwhile.
type waiting struct {
	*intake
	ended chan error
}

func (w waiting) Accept(ctx context.Context, m *relay.Message) (relay.Receipt, error) {
	select {
	case <-ctx.Done():
	case <-time.After(3 * quick):
	}
	w.ended <- ctx.Err()
	return receiptOf(m), nil
}
