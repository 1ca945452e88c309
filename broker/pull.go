package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/theforeman/foreman-relay/relay"
)

// pull is one outstanding request for the next messages of a consumer.
type pull struct {
	sub    *nats.Subscription
	msgs   chan *nats.Msg
	left   int
	broken <-chan struct{}
}

var (
	errPullEnded = errors.New("pull ended") // normal: ask again
	errGap       = errors.New("messages were lost on the way")
	errBroken    = errors.New("the connection was lost")
	errSilent    = errors.New("the broker is silent")
)

// Read returns the next entries, at least one. It is called by one goroutine at
// a time, the same that calls Seek.
func (j *journal) Read(ctx context.Context, max int) ([]relay.Entry, error) {
	for {
		if j.pull == nil {
			if err := j.startPull(max); err != nil {
				return nil, err
			}
		}
		entries, err := j.collect(ctx)
		if errors.Is(err, errPullEnded) {
			j.dropPull()
			if len(entries) == 0 {
				continue
			}
			return entries, nil
		}
		if err != nil {
			j.dropPull()
			return nil, err
		}
		return entries, nil
	}
}

func (j *journal) startPull(max int) error {
	request, err := json.Marshal(map[string]any{"batch": max, "expires": pullExpires, "idle_heartbeat": pullHeartbeat})
	if err != nil {
		return err
	}
	p := &pull{msgs: make(chan *nats.Msg, max+16), left: max, broken: j.c.linked().Done()}
	inbox := j.c.nc.NewInbox()
	if p.sub, err = j.c.nc.ChanSubscribe(inbox, p.msgs); err != nil {
		return fmt.Errorf("subscribe for entries: %w", err)
	}
	if err := j.c.nc.PublishRequest(apiNext(j.stream, consumerName(j.queue.Destination)), inbox, request); err != nil {
		_ = p.sub.Unsubscribe() // the publish error is the one to tell
		return fmt.Errorf("ask for entries: %w", err)
	}
	j.pull = p
	return nil
}

func (j *journal) dropPull() {
	if j.pull != nil {
		_ = j.pull.sub.Unsubscribe() // the connection may be gone
		j.pull = nil
	}
}

// collect waits for one message and takes along what has come with it.
func (j *journal) collect(ctx context.Context) ([]relay.Entry, error) {
	var entries []relay.Entry
	for {
		msg, err := j.pull.next(ctx, len(entries) == 0)
		if msg == nil || err != nil {
			return entries, err
		}
		e, heartbeat, err := j.entry(msg)
		if err != nil {
			return entries, err
		}
		if heartbeat {
			continue
		}
		entries = append(entries, e)
		if j.pull.left--; j.pull.left == 0 {
			return entries, errPullEnded
		}
	}
}

// next is the next message of the pull; without wait only if it is there.
func (p *pull) next(ctx context.Context, wait bool) (*nats.Msg, error) {
	select {
	case msg := <-p.msgs:
		return msg, nil
	default:
		if !wait {
			return nil, nil //nolint:nilnil // nothing there, nothing wrong
		}
	}
	t := time.NewTimer(2*pullHeartbeat + time.Second)
	defer t.Stop()
	select {
	case msg := <-p.msgs:
		return msg, nil
	case <-t.C:
		return nil, errSilent
	case <-p.broken:
		return nil, errBroken
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// entry reads a message of the pull: an entry, a heartbeat, or its end. The
// consumer counts from 1 since Seek, which shows whether anything was lost.
func (j *journal) entry(msg *nats.Msg) (e relay.Entry, heartbeat bool, err error) {
	switch status := msg.Header.Get("Status"); status {
	case "":
	case "100":
		return e, true, nil
	case "404", "408":
		return e, false, errPullEnded
	case "409": // batch completed and the like; anything worse shows when asked again
		return e, false, errPullEnded
	default:
		return e, false, fmt.Errorf("broker answers %s %s", status, msg.Header.Get("Description"))
	}
	meta, err := msg.Metadata()
	if err != nil {
		return e, false, fmt.Errorf("entry without metadata: %w", err)
	}
	if meta.Sequence.Consumer != j.last+1 {
		return e, false, fmt.Errorf("%w: %d follows %d", errGap, meta.Sequence.Consumer, j.last)
	}
	j.last = meta.Sequence.Consumer
	e, err = newEntry(msg.Subject, msg.Header, meta.Sequence.Stream, meta.Timestamp)
	return e, false, err
}
