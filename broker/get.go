package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// Direct get: single messages and runs of them by sequence, without a consumer.
// Both sides of the channel read this way; the answers come from the store.

// errNotFound: no message fits.
var errNotFound = errors.New("no such message")

// hdrBodySize: what the broker adds where it leaves the body out.
const hdrBodySize = "Nats-Msg-Size"

// hdrObjectSize: what the envelope says of a body that is stored in pieces.
const hdrObjectSize = "Relay-Size"

// getRequest is the request of the direct get API (ADR-31).
type getRequest struct {
	Sequence  uint64     `json:"seq,omitempty"`
	LastFor   string     `json:"last_by_subj,omitempty"`
	NextFor   string     `json:"next_by_subj,omitempty"`
	Batch     int        `json:"batch,omitempty"`
	MaxBytes  int        `json:"max_bytes,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
}

// stored is a message as the store gave it.
type stored struct {
	subject  string
	sequence uint64
	at       time.Time
	header   nats.Header
	data     []byte
}

// size is that of the body, in bytes, whether it came along or not.
func (s *stored) size() int {
	for _, name := range []string{hdrObjectSize, hdrBodySize} {
		if n, err := strconv.Atoi(s.header.Get(name)); err == nil {
			return n
		}
	}
	return len(s.data)
}

// get reads one message. It is sent however large it is: the number of bytes
// bounds what comes after it. It is given because the server looks it up where it
// is not, in options that are replaced when there are new queues, and takes no lock
// for it (2.15.2).
func get(ctx context.Context, nc *nats.Conn, subject string, r *getRequest) (*stored, error) {
	if r == nil {
		r = &getRequest{}
	}
	one := *r
	one.MaxBytes = 1
	body, err := json.Marshal(one)
	if err != nil {
		return nil, err
	}
	return getWith(ctx, nc, subject, body)
}

// getOne reads the message with this sequence. Every attempt asks for one, so the
// request is written without the encoder: what it has to think about took longer
// than the message to be found.
func getOne(ctx context.Context, nc *nats.Conn, subject string, sequence uint64) (*stored, error) {
	body := append(strconv.AppendUint([]byte(`{"max_bytes":1,"seq":`), sequence, 10), '}')
	return getWith(ctx, nc, subject, body)
}

func getWith(ctx context.Context, nc *nats.Conn, subject string, body []byte) (*stored, error) {
	msg, err := nc.RequestWithContext(ctx, subject, body)
	if err != nil {
		return nil, fmt.Errorf("read from the broker: %w", err)
	}
	return readStored(msg)
}

func readStored(msg *nats.Msg) (*stored, error) {
	switch status := msg.Header.Get("Status"); status {
	case "":
	case "404":
		return nil, errNotFound
	default:
		return nil, fmt.Errorf("broker answers %s %s", status, msg.Header.Get("Description"))
	}
	sequence, err := strconv.ParseUint(msg.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("broker answers without a sequence: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, msg.Header.Get("Nats-Time-Stamp"))
	if err != nil {
		return nil, fmt.Errorf("broker answers without a time: %w", err)
	}
	return &stored{msg.Header.Get("Nats-Subject"), sequence, at, msg.Header, msg.Data}, nil
}

const (
	batchSize  = 1000
	batchBytes = 4 << 20
)

// getBatch reads up to max messages from sequence from on that match filter
// (empty: all). more says whether there are others behind them.
func getBatch(ctx context.Context, nc *nats.Conn, subject, filter string, from uint64, max int) (batch []*stored, more bool, err error) {
	if filter == "" {
		filter = ">"
	}
	return getMany(ctx, nc, subject, getRequest{Sequence: from, NextFor: filter, Batch: max, MaxBytes: batchBytes})
}

// getRun reads up to max messages from sequence from on, of at most so many
// bytes but for the first.
func getRun(ctx context.Context, nc *nats.Conn, subject string, from uint64, max, bytes int) (batch []*stored, more bool, err error) {
	if max == 1 {
		s, err := getOne(ctx, nc, subject, from)
		if err != nil {
			return nil, false, err
		}
		return []*stored{s}, false, nil
	}
	return getMany(ctx, nc, subject, getRequest{Sequence: from, NextFor: ">", Batch: max, MaxBytes: bytes})
}

func getMany(ctx context.Context, nc *nats.Conn, subject string, r getRequest) (batch []*stored, more bool, err error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, false, err
	}
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, false, fmt.Errorf("subscribe for an answer: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // nothing is lost: the answer is complete or given up
	if err := nc.PublishRequest(subject, inbox, body); err != nil {
		return nil, false, fmt.Errorf("ask the broker: %w", err)
	}
	var last uint64
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, false, fmt.Errorf("read a batch from the broker: %w", err)
		}
		if end, more, err := endOfBatch(msg, last); end || err != nil {
			return batch, more, err
		}
		s, err := readStored(msg)
		if err != nil {
			return nil, false, err
		}
		if p := msg.Header.Get("Nats-Last-Sequence"); p != strconv.FormatUint(last, 10) {
			return nil, false, fmt.Errorf("a message after %d was lost on the way", last)
		}
		last = s.sequence
		batch = append(batch, s)
	}
}

// endOfBatch reads the status that ends a batch; 404 is an empty one.
func endOfBatch(msg *nats.Msg, last uint64) (end, more bool, err error) {
	switch status := msg.Header.Get("Status"); status {
	case "":
		return false, false, nil
	case "404":
		return true, false, nil
	case "204":
		if got := msg.Header.Get("Nats-Last-Sequence"); got != strconv.FormatUint(last, 10) {
			return true, false, fmt.Errorf("a batch ends with %s, but %d was the last that came", got, last)
		}
		return true, msg.Header.Get("Nats-Num-Pending") != "0", nil
	default:
		return true, false, fmt.Errorf("broker answers %s %s", status, msg.Header.Get("Description"))
	}
}

// scan calls visit for all messages from sequence from on that match filter, in
// order, until there are no more.
func scan(ctx context.Context, nc *nats.Conn, subject, filter string, from uint64, visit func(*stored) error) error {
	for {
		batch, more, err := getBatch(ctx, nc, subject, filter, from, batchSize)
		if err != nil {
			return err
		}
		for _, s := range batch {
			if err := visit(s); err != nil {
				return err
			}
			from = s.sequence + 1
		}
		if !more || len(batch) == 0 {
			return nil
		}
	}
}
