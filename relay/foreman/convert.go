package foreman

import (
	"context"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/outgoing"
)

// conversion makes what Foreman takes in a message's place; an error means that this will never succeed,
// unless ctx has ended.
type conversion func(ctx context.Context, o Options, m *relay.Message) (outgoing.Delivery, error)

// conversions are those routes whose clients talk to a smart proxy's plugin, not
// to Foreman. They are converted when they are delivered: what is stored is what
// came, and a better conversion reaches also what waits.
var conversions = map[string]conversion{
	"puppet":  convertPuppet,
	"ansible": convertAnsible,
	"arf":     convertARF,
}

// convert does one message at a time: a conversion may need many times the
// message's size, and all of its body.
func (c *Client) convert(ctx context.Context, m *relay.Message) (outgoing.Delivery, error) {
	f, ok := conversions[m.Route]
	if !ok {
		return outgoing.Unchanged(ctx, m)
	}
	select {
	case c.converting <- struct{}{}:
		defer func() { <-c.converting }()
	case <-ctx.Done():
		return outgoing.Delivery{}, ctx.Err()
	}
	whole := *m
	var err error
	if whole.Body, err = m.Load(ctx); err != nil {
		return outgoing.Delivery{}, outgoing.Unread(err)
	}
	if whole.Digest == "" { // it was opened while it was read
		whole.Digest = relay.DigestOf(whole.Body)
	}
	return f(ctx, c.options, &whole)
}
