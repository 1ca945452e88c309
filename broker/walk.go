package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// walkBatch is how many headers are asked for at one time.
const walkBatch = 500

// A walk that is brought nothing asks again after walkPause, and gives up after
// walkPatience.
const (
	walkPause    = 100 * time.Millisecond
	walkPatience = 30 * time.Second
)

// walk visits the messages from sequence from on that match any of the filters
// (none: all), in order, until visit returns false or there are no more. Bodies stay where they are:
// that needs a consumer, which only the edge may make; it is in memory, and goes
// away with the walk.
func (b *Broker) walk(ctx context.Context, stream string, filters []string, from uint64, visit func(*stored) bool) error {
	c, err := b.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{FilterSubjects: filters, DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq: max(1, from), AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, MemoryStorage: true, InactiveThreshold: time.Minute})
	if err != nil {
		return fmt.Errorf("read the headers of %s: %w", stream, err)
	}
	info := c.CachedInfo()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = b.js.DeleteConsumer(ctx, stream, info.Name) // else its threshold ends it
	}()
	seen, silent := uint64(0), time.Time{}
	for left := info.NumPending; left > 0; {
		batch, err := c.FetchNoWait(int(min(left, walkBatch)))
		if err != nil {
			return fmt.Errorf("read the headers of %s: %w", stream, err)
		}
		got, more, err := visitBatch(ctx, batch, &seen, visit)
		if err != nil || !more {
			return err
		}
		left -= min(left, got)
		if got > 0 {
			silent = time.Time{}
			continue
		}
		if silent.IsZero() {
			silent = time.Now()
		}
		if left, err = stillLeft(ctx, c, silent); err != nil {
			return fmt.Errorf("read the headers of %s: %w", stream, err)
		}
	}
	return nil
}

// stillLeft is how many messages are left where a request has brought none. There
// are none where they were removed meanwhile; else a disk that is slow has kept
// them back, and whoever took that for the end would overlook them.
func stillLeft(ctx context.Context, c jetstream.Consumer, silent time.Time) (uint64, error) {
	info, err := c.Info(ctx)
	if err != nil || info.NumPending == 0 {
		return 0, err
	}
	if time.Since(silent) > walkPatience {
		return 0, errSilent
	}
	if !rest(ctx, walkPause) {
		return 0, ctx.Err()
	}
	return info.NumPending, nil
}

// visitBatch visits what one request brought; more is false where visit wants
// no more. seen counts, as the consumer does, and shows what was lost.
func visitBatch(ctx context.Context, batch jetstream.MessageBatch, seen *uint64, visit func(*stored) bool) (got uint64, more bool, err error) {
	for {
		select {
		case msg, open := <-batch.Messages():
			if !open {
				return got, true, batch.Error()
			}
			meta, err := msg.Metadata()
			if err != nil {
				return got, false, err
			}
			if *seen++; meta.Sequence.Consumer != *seen {
				return got, false, errGap
			}
			got++
			if !visit(&stored{msg.Subject(), meta.Sequence.Stream, meta.Timestamp, msg.Headers(), nil}) {
				return got, false, nil
			}
		case <-ctx.Done():
			return got, false, ctx.Err()
		}
	}
}
