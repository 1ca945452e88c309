package foreman

import (
	"context"

	"github.com/theforeman/foreman-relay/relay"
)

// delivery is what is sent for a message: the message itself, or what Foreman
// takes in its place.
type delivery struct {
	path, contentType, contentEncoding string
	body                               []byte
	large                              *largeBody // nil: body is all
}

// conversion makes it of a message; an error means that this will never succeed,
// unless ctx has ended.
type conversion func(ctx context.Context, o Options, m *relay.Message) (delivery, error)

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
func (c *Client) convert(ctx context.Context, m *relay.Message) (delivery, error) {
	d := delivery{path: m.Path, contentType: m.ContentType, contentEncoding: m.ContentEncoding, body: m.Body}
	f, ok := conversions[m.Route]
	if !ok {
		if m.Object != "" {
			d.large = &largeBody{message: m}
		}
		return d, nil
	}
	select {
	case c.converting <- struct{}{}:
		defer func() { <-c.converting }()
	case <-ctx.Done():
		return d, ctx.Err()
	}
	whole := *m
	var err error
	if whole.Body, err = m.Load(ctx); err != nil {
		return d, &bodyError{err}
	}
	if whole.Digest == "" { // it was opened while it was read
		whole.Digest = relay.DigestOf(whole.Body)
	}
	return f(ctx, c.options, &whole)
}
