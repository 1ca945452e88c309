package relay

import (
	"context"
	"math"
	"time"
)

// DeadLetter is a message that will not be tried again by itself.
type DeadLetter struct {
	ID           string    `json:"id"`
	Organization string    `json:"organization"`
	Destination  string    `json:"destination"`
	Route        string    `json:"route"`
	Lane         string    `json:"lane,omitempty"`
	Key          string    `json:"key,omitempty"`
	Sequence     uint64    `json:"sequence"`
	AcceptedAt   time.Time `json:"accepted_at"`
	DiedAt       time.Time `json:"died_at"`
	Reason       string    `json:"reason"`
	Attempts     int       `json:"attempts"`
	Status       int       `json:"status,omitempty"` // of the last answer there was
	Detail       string    `json:"detail,omitempty"` // excerpt of the last answer, or the error
	ReplayedFrom string    `json:"replayed_from,omitempty"`
	Sender       string    `json:"sender,omitempty"` // name and fingerprint
	Bytes        int       `json:"bytes"`
	ContentType  string    `json:"content_type,omitempty"`
	Path         string    `json:"path,omitempty"`
	Body         []byte    `json:"body,omitempty"`     // only of a single letter
	BodyCut      bool      `json:"body_cut,omitempty"` // Body is the beginning, MaxExcerpt bytes of it
	// Place grows with each letter of an organization: where a listing goes on.
	Place uint64 `json:"place"`
	// History is what happened to the message, only of a single letter.
	History *History `json:"history,omitempty"`
}

// Queue is the name of the letter's queue.
func (l *DeadLetter) Queue() Queue { return Queue{l.Organization, l.Destination} }

// EachDeadLetter visits the letters of a filter, one queue after the other, in
// the order in which they were buried; f.Limit bounds them all, 0: no bound. It
// reads a page at a time and ends with what visit returns. Letters that come
// while it runs may be among them.
func EachDeadLetter(ctx context.Context, o Operator, f DeadLetterFilter, visit func(DeadLetter) error) error {
	queues, err := queuesOf(ctx, o, f.Queue)
	if err != nil {
		return err
	}
	if f.Limit == 0 {
		f.Limit = math.MaxInt
	}
	for i := range queues {
		f.Queue, f.After = &queues[i], 0
		if f.Limit, err = eachOfQueue(ctx, o, f, visit); err != nil || f.Limit == 0 {
			return err
		}
	}
	return nil
}

func queuesOf(ctx context.Context, o Operator, q *Queue) ([]Queue, error) {
	if q != nil {
		return []Queue{*q}, nil
	}
	all, err := o.Queues(ctx)
	queues := make([]Queue, len(all))
	for i := range all {
		queues[i] = all[i].Queue()
	}
	return queues, err
}

// eachOfQueue returns how much of the limit is left.
func eachOfQueue(ctx context.Context, o Operator, f DeadLetterFilter, visit func(DeadLetter) error) (left int, err error) {
	left = f.Limit
	for left > 0 {
		f.Limit = min(left, DefaultDeadLetterLimit)
		page, err := o.DeadLetters(ctx, f)
		if err != nil {
			return left, err
		}
		before := f.After
		for i := range page {
			f.After = max(f.After, page[i].Place)
			if err := visit(page[i]); err != nil {
				return left, err
			}
		}
		if left -= len(page); len(page) < f.Limit {
			break
		}
		if f.After == before { // an older relay knows no places
			return left, Refuse(CodeInternal, "the listing of the dead letters of %s does not go on; is the relay older than this program?", f.Queue)
		}
	}
	return left, nil
}
