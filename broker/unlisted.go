package broker

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/theforeman/foreman-relay/relay"
)

// tellUnlisted warns of queues in the state directory that the configuration does
// not have any more, and in which something waits: nobody delivers it, and no
// listing shows it, until its destination is there again. That it cannot be found
// out is no reason not to start.
func (b *Broker) tellUnlisted(ctx context.Context) error {
	list := b.js.ListStreams(ctx)
	for s := range list.Info() {
		q := relay.Queue{Organization: s.Config.Metadata["organization"], Destination: s.Config.Metadata["destination"]}
		if s.Config.Name != journalStream(q) || b.Known(q) {
			continue
		}
		waiting, err := b.leftIn(ctx, q, s.State)
		if err != nil {
			b.log.Warn().Err(err).Str("queue", q.String()).Msg("this queue is in the state directory and not in the configuration; what waits in it cannot be counted")
		} else if waiting > 0 {
			b.log.Warn().Str("queue", q.String()).Uint64("waiting", waiting).
				Msg("messages wait in a queue that is not in the configuration any more: nothing is lost, and nothing is delivered; put its destination back (destinations), with or without a URL, to deliver or purge them")
		}
	}
	if err := list.Err(); err != nil {
		b.log.Warn().Err(err).Msg("whether messages wait in queues that are not in the configuration any more cannot be found out")
	}
	return nil
}

// leftIn is how many messages of a queue that is not open are not settled.
func (b *Broker) leftIn(ctx context.Context, q relay.Queue, state jetstream.StreamState) (uint64, error) {
	a := newAccounts(q.Destination, b.nc, b.js, newSettledKeys(b.options.RecordWindow), b.log)
	if err := a.add(ctx, q); err != nil {
		return 0, fmt.Errorf("account of %s: %w", q, err)
	}
	var settled uint64
	a.view(q, func(l *relay.Ledger) { settled = l.Totals().Sum() })
	return state.LastSeq - min(settled, state.LastSeq), nil
}
