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
		if ledger, err = readCheckpoint(s.data); err != nil {
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
	if err == nil && m.Object != "" {
		m.Open = contentOf(m, j.piece)
	}
	return m, err
}

// message decodes a message of a journal; of one that cannot be decoded its
// subject still says the id.
func (s *stored) message() (*relay.Message, error) {
	m, err := relay.DecodeEnvelope(s.header, s.data)
	if err != nil {
		n, _ := parseMessageSubject(s.subject) // empty where it is no subject of ours
		return &relay.Message{ID: n.id}, err
	}
	m.Sequence, m.Stored = s.sequence, s.at
	return m, nil
}

// Lane reads entries of one lane. Bodies come along and are dropped: the direct
// get API has no reading of headers alone.
func (j *journal) Lane(ctx context.Context, lane string, urgent bool, from, through uint64, max int) ([]relay.Entry, error) {
	return j.find(ctx, laneFilter(j.token, lane, urgent), from, through, max, func(relay.Entry) bool { return true })
}

// Scheduled reads what has a time: of the urgent messages only some have.
func (j *journal) Scheduled(ctx context.Context, urgent bool, from, through uint64, max int) ([]relay.Entry, error) {
	mark := markScheduled
	if urgent {
		mark = markUrgent
	}
	return j.find(ctx, markFilter(j.token, mark), from, through, max, func(e relay.Entry) bool { return !e.NotBefore.IsZero() })
}

// find reads the entries of a filter that are to be kept.
func (j *journal) find(ctx context.Context, filter string, from, through uint64, max int, keep func(relay.Entry) bool) ([]relay.Entry, error) {
	var entries []relay.Entry
	for len(entries) < max {
		batch, more, err := j.batch(ctx, filter, from, max-len(entries))
		if err != nil {
			return nil, err
		}
		for _, s := range batch {
			if s.sequence > through {
				return entries, nil
			}
			e, err := newEntry(s.subject, s.header, s.sequence, s.at)
			if err != nil {
				return nil, err
			}
			if keep(e) {
				entries = append(entries, e)
			}
			from = s.sequence + 1
		}
		if !more || len(batch) == 0 {
			break
		}
	}
	return entries, nil
}

// batch is one call of find, with a time of its own: a lane may be long and the
// way to the broker slow.
func (j *journal) batch(ctx context.Context, filter string, from uint64, max int) ([]*stored, bool, error) {
	ctx, cancel, err := j.c.call(ctx)
	if err != nil {
		return nil, false, err
	}
	defer cancel()
	return getBatch(ctx, j.c.nc, apiGet(j.stream), filter, from, min(max, batchSize))
}

// newEntry is what subject and headers say. A time that cannot be read counts for
// none here: the envelope is refused when the message is opened.
func newEntry(subject string, h nats.Header, sequence uint64, at time.Time) (relay.Entry, error) {
	n, err := parseMessageSubject(subject)
	if err != nil {
		return relay.Entry{}, err
	}
	e := relay.Entry{Sequence: sequence, Lane: n.lane, Route: unique.Make(n.route).Value(), Accepted: at, Urgent: n.mark == markUrgent, ID: n.id}
	e.NotBefore, e.Expires, _ = relay.EnvelopeTimes(h)
	e.Describe(h)
	return e, nil
}

// Newest asks the edge itself: what it was told last is not in the journal yet,
// or not for good.
func (j *journal) Newest(ctx context.Context, r relay.NewestRequest) (relay.NewestReply, error) {
	var reply relay.NewestReply
	question, err := json.Marshal(r)
	if err != nil {
		return reply, err
	}
	ctx, cancel, err := j.c.call(ctx)
	if err != nil {
		return reply, err
	}
	defer cancel()
	if err := j.c.ask(ctx, newestSubject(j.queue.Destination), question, &reply); err != nil {
		return reply, fmt.Errorf("ask the edge what is newest: %w", err)
	}
	return reply, nil
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
