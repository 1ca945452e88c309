package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unique"

	"github.com/nats-io/nats.go"

	"github.com/theforeman/foreman-relay/relay"
)

const (
	pullExpires   = 30 * time.Second
	pullHeartbeat = 5 * time.Second
	callTimeout   = 10 * time.Second
)

// journal implements relay.Journal over a Channel. Reading forward goes through
// the queue's consumer, which is a cursor and no more: headers only, nothing to
// acknowledge, set by Seek.
type journal struct {
	c      *Channel
	queue  relay.Queue
	token  string
	stream string

	ahead *ahead
	reach reach
	pull  *pull // the outstanding one; only the reader touches it
	last  uint64
}

// Ledger reads checkpoint and events.
func (j *journal) Ledger(ctx context.Context) (*relay.Ledger, error) {
	ctx, cancel := context.WithCancel(ctx) // a long record may take its time, but not longer than the connection
	defer cancel()
	defer context.AfterFunc(j.c.linked(), cancel)()
	ledger := relay.NewLedger()
	s, err := get(ctx, j.c.nc, apiGetCheckpoint(j.queue), nil)
	switch {
	case errors.Is(err, errNotFound):
	case err != nil:
		return nil, err
	default:
		if ledger, err = relay.ReadCheckpoint(s.data); err != nil {
			return nil, err
		}
	}
	err = scan(ctx, j.c.nc, apiGet(eventStream(j.queue.Destination)), eventPrefix(j.queue)+"*", ledger.Through()+1,
		func(s *stored) error {
			e, err := relay.DecodeEvent(s.data)
			if err != nil {
				return fmt.Errorf("event %d: %w", s.sequence, err)
			}
			ledger.Apply(e, s.sequence)
			return nil
		})
	return ledger, err
}

// Seek sets the consumer; what an older pull may still bring is dropped.
func (j *journal) Seek(ctx context.Context, sequence uint64) error {
	j.dropPull()
	j.ahead.forget()
	j.reach.through.Store(0) // a term asks anew
	ctx, cancel, err := j.c.call(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	msg, err := j.c.nc.RequestWithContext(ctx, apiReset(j.stream, consumerName(j.queue.Destination)),
		fmt.Appendf(nil, `{"seq":%d}`, sequence))
	if err != nil {
		return fmt.Errorf("set the cursor: %w", err)
	}
	var reply struct {
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(msg.Data, &reply); err != nil {
		return fmt.Errorf("set the cursor: %w", err)
	}
	if reply.Error != nil {
		return fmt.Errorf("set the cursor to %d: %s", sequence, reply.Error.Description)
	}
	j.last = 0
	return nil
}

// Message reads one message whole.
func (j *journal) Message(ctx context.Context, sequence uint64) (*relay.Message, error) {
	ctx, cancel, err := j.c.call(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	if err := j.reachTo(ctx, sequence); err != nil {
		return nil, err
	}
	link, run, err := j.c.answering(ctx)
	if err != nil {
		return nil, err
	}
	s, err := j.ahead.get(ctx, link, sequence)
	if errors.Is(err, errNotFound) {
		return nil, relay.ErrMissing
	}
	if err != nil {
		return nil, err
	}
	m, err := s.message()
	m.Run = run
	return m, err
}

// message decodes a message of a journal; of one that cannot be decoded its
// subject still says the id.
func (s *stored) message() (*relay.Message, error) {
	m, err := relay.DecodeEnvelope(s.header, s.data)
	if err != nil {
		id, _, _, _ := parseMessageSubject(s.subject) // empty where it is no subject of ours
		return &relay.Message{ID: id}, err
	}
	m.Sequence, m.Stored = s.sequence, s.at
	return m, nil
}

// Lane reads entries of one lane. Bodies come along and are dropped: the direct
// get API has no reading of headers alone.
func (j *journal) Lane(ctx context.Context, lane string, from, through uint64, max int) ([]relay.Entry, error) {
	var entries []relay.Entry
	for len(entries) < max {
		batch, more, err := j.laneBatch(ctx, lane, from, max-len(entries))
		if err != nil {
			return nil, err
		}
		for _, s := range batch {
			if s.sequence > through {
				return entries, nil
			}
			e, err := newEntry(s.subject, s.sequence, s.at)
			if err != nil {
				return nil, err
			}
			entries = append(entries, e)
			from = s.sequence + 1
		}
		if !more || len(batch) == 0 {
			break
		}
	}
	return entries, nil
}

// laneBatch is one call of Lane, with a time of its own: a lane may be long and
// the way to the broker slow.
func (j *journal) laneBatch(ctx context.Context, lane string, from uint64, max int) ([]*stored, bool, error) {
	ctx, cancel, err := j.c.call(ctx)
	if err != nil {
		return nil, false, err
	}
	defer cancel()
	return getBatch(ctx, j.c.nc, apiGet(j.stream), laneFilter(j.token, lane), from, min(max, batchSize))
}

func newEntry(subject string, sequence uint64, at time.Time) (relay.Entry, error) {
	_, lane, route, err := parseMessageSubject(subject)
	if err != nil {
		return relay.Entry{}, err
	}
	return relay.Entry{Sequence: sequence, Lane: lane, Route: unique.Make(route).Value(), Accepted: at}, nil
}

// Record stores an event. One that is stored twice counts once.
func (j *journal) Record(ctx context.Context, e relay.Event) error {
	ctx, cancel, err := j.c.call(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	_, err = recordAt(ctx, j.c.nc, j.queue, e)
	return err
}

// recordAt stores an event and returns its sequence in the record.
func recordAt(ctx context.Context, nc *nats.Conn, q relay.Queue, e relay.Event) (uint64, error) {
	body, err := e.Encode()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	sequence, err := publish(ctx, nc, nats.NewMsg(eventSubject(q, e.ID)), body)
	if err != nil {
		return 0, fmt.Errorf("record an event: %w", err)
	}
	return sequence, nil
}
