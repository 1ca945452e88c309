package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// operator is an operator's view of two queues and two dead letters, in memory.
type operator struct {
	letters map[string]relay.DeadLetter
	fail    error // of every call, if not nil
}

var letterID = relay.KeyedID(slashed, "a letter")

func newOperator() *operator {
	return &operator{letters: map[string]relay.DeadLetter{
		letterID: {ID: letterID, Organization: slashed.Organization, Destination: slashed.Destination, Route: "message", Lane: "web01",
			Key: "a\x1fb", Sequence: 7, AcceptedAt: noon, DiedAt: noon.Add(time.Hour), Reason: relay.ReasonRejected, Attempts: 1, Status: 422,
			Detail: "say \"no\"\n", Bytes: 4, ContentType: "text/plain", Path: "/x?y=1", Body: []byte{0, 1, 0xff, '\n'}},
		relay.KeyedID(queue, "another"): {ID: relay.KeyedID(queue, "another"), Organization: queue.Organization, Destination: queue.Destination,
			Route: "facts", Sequence: 1 << 60, AcceptedAt: noon, DiedAt: noon, Reason: relay.ReasonMaxAge, Bytes: 9},
	}}
}

func (o *operator) Queues(context.Context) ([]relay.QueueStatus, error) {
	if o.fail != nil {
		return nil, o.fail
	}
	return []relay.QueueStatus{status(queue), status(slashed)}, nil
}

func status(q relay.Queue) relay.QueueStatus {
	return relay.QueueStatus{Organization: q.Organization, Destination: q.Destination, Accepted: 1 << 63, Pending: 3, Delivering: 1, Waiting: 1,
		Delivered: 9, OldestAgeSeconds: 1.25, Bytes: 4096, QuotaBytes: 1 << 40, Breaker: "half-open", Drain: "d/1", Epoch: 4, Floor: 12}
}

func (o *operator) Queue(_ context.Context, q relay.Queue) (relay.QueueStatus, error) {
	if q != queue && q != slashed {
		return relay.QueueStatus{}, relay.Refuse(relay.CodeNotFound, "there is no queue %s", q)
	}
	return status(q), o.fail
}

func (o *operator) Message(_ context.Context, id string) (relay.MessageStatus, error) {
	l, found := o.letters[id]
	if !found {
		return relay.MessageStatus{}, relay.Refuse(relay.CodeNotFound, "there is no message %q", id)
	}
	next := noon.Add(time.Minute)
	return relay.MessageStatus{ID: id, Organization: l.Organization, Destination: l.Destination, State: relay.Dead, Route: l.Route,
		AcceptedAt: &l.AcceptedAt, Attempts: l.Attempts, InJournal: true,
		Events: []relay.EventStatus{{At: noon, State: relay.Waiting, Attempt: 1, Next: &next}}}, nil
}

func (o *operator) DeadLetters(_ context.Context, f relay.DeadLetterFilter) ([]relay.DeadLetter, error) {
	found := []relay.DeadLetter{}
	for _, id := range []string{letterID, relay.KeyedID(queue, "another")} {
		l, there := o.letters[id]
		ofQueue := f.Queue == nil || *f.Queue == relay.Queue{Organization: l.Organization, Destination: l.Destination}
		if there && ofQueue && (f.Limit == 0 || len(found) < f.Limit) {
			l.Body = nil
			found = append(found, l)
		}
	}
	return found, o.fail
}

func (o *operator) DeadLetter(_ context.Context, id string) (relay.DeadLetter, error) {
	l, found := o.letters[id]
	if !found {
		return l, relay.Refuse(relay.CodeNotFound, "there is no dead letter %q", id)
	}
	return l, nil
}

func (o *operator) Replay(ctx context.Context, id string) (relay.Receipt, error) {
	l, err := o.DeadLetter(ctx, id)
	if err != nil {
		return relay.Receipt{}, err
	}
	q := relay.Queue{Organization: l.Organization, Destination: l.Destination}
	delete(o.letters, id)
	return relay.Receipt{ID: relay.KeyedID(q, "again"), State: relay.Accepted, Queue: q, Durability: "os", AcceptedAt: noon, Location: "/x"}, nil
}

func (o *operator) Discard(ctx context.Context, id string) error {
	_, err := o.DeadLetter(ctx, id)
	delete(o.letters, id)
	return err
}

func (o *operator) Audit(_ context.Context, q *relay.Queue) ([]relay.AuditReport, error) {
	of := queue
	if q != nil {
		of = *q
	}
	return []relay.AuditReport{{Organization: of.Organization, Destination: of.Destination, Balanced: q == nil, Accepted: 2,
		Totals: relay.Totals{relay.Delivered: 1}, Findings: []relay.AuditFinding{{Sequence: 3, What: "lost"}},
	}}, nil
}

// admin serves the admin API of an operator on a socket, and returns its path.
func admin(t *testing.T, o relay.Operator, change func(*handlers.AdminOptions)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "admin.sock")
	options := handlers.AdminOptions{Operator: o, Intake: &intake{}, Config: map[string]any{"listen": "here"}, Version: "1.2.3",
		Registry: prometheus.NewRegistry(), Log: zerolog.Nop()}
	if change != nil {
		change(&options)
	}
	l, err := handlers.ListenUnix(t.Context(), path)
	require.NoError(t, err)
	server := handlers.NewServer(handlers.NewAdmin(options), nil, zerolog.Nop())
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
	return path
}

func dialAdmin(t *testing.T, path string) *handlers.Client {
	c := handlers.Dial(path)
	t.Cleanup(c.Close)
	return c
}

// story is everything an operator can do, in an order in which it matters.
func story(o relay.Operator) []any {
	ctx := context.Background()
	var told []any
	tell := func(v any, err error) {
		told = append(told, v)
		if err != nil {
			told[len(told)-1] = outcome(err)
		}
	}
	unknown, gone := relay.Queue{Organization: "a/b", Destination: "c"}, relay.FreshID(queue)[:8]+"-gone"
	all, err := o.Queues(ctx)
	tell(all, err)
	for _, q := range []relay.Queue{queue, slashed, unknown} {
		s, err := o.Queue(ctx, q)
		tell(s, err)
		reports, err := o.Audit(ctx, &q)
		tell(reports, err)
		for _, limit := range []int{0, 1} {
			letters, err := o.DeadLetters(ctx, relay.DeadLetterFilter{Queue: &q, Limit: limit})
			tell(letters, err)
		}
	}
	letters, err := o.DeadLetters(ctx, relay.DeadLetterFilter{Limit: 1})
	tell(letters, err)
	reports, err := o.Audit(ctx, nil)
	tell(reports, err)
	for _, id := range []string{letterID, gone, "a b/c?d%41", "..", letterID} {
		m, err := o.Message(ctx, id)
		tell(m, err)
		l, err := o.DeadLetter(ctx, id)
		tell(l, err)
		r, err := o.Replay(ctx, id)
		tell(r, err)
		tell("discarded", o.Discard(ctx, id))
	}
	tell("discarded", o.Discard(ctx, relay.KeyedID(queue, "another")))
	letters, err = o.DeadLetters(ctx, relay.DeadLetterFilter{})
	tell(letters, err)
	return told
}

// outcome is what of an error must be the same on both sides.
func outcome(err error) string {
	var e *relay.Error
	if !errors.As(err, &e) {
		return "not a relay.Error: " + err.Error()
	}
	detail := e.Detail
	if e.Code == relay.CodeInternal {
		detail = "" // stays with the relay
	}
	return fmt.Sprint(e.Code, " ", detail, " ", e.Violations, " ", e.RetryAfter)
}

// TestOperatorConformance: the client is the operator, from the other side.
func TestOperatorConformance(t *testing.T) {
	direct := story(newOperator())
	through := story(dialAdmin(t, admin(t, newOperator(), nil)))
	require.Len(t, through, len(direct))
	for i := range direct {
		require.Equal(t, direct[i], through[i], "step %d", i)
	}
}

// TestErrorsCrossTheSocket: with every code.
func TestErrorsCrossTheSocket(t *testing.T) {
	o := newOperator()
	c := dialAdmin(t, admin(t, o, nil))
	for code := range codes {
		o.fail = &relay.Error{Code: code, Detail: "because", RetryAfter: 3 * time.Second,
			Violations: []relay.Violation{{Pointer: "/a", Message: "b"}}}
		if code == relay.CodeInternal {
			o.fail = relay.Refuse(code, "because")
		}
		_, err := c.Queues(t.Context())
		require.Equal(t, outcome(o.fail), outcome(err))
	}
}
