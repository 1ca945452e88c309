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
	paused  map[relay.Queue]*relay.Pause
	fail    error // of every call, if not nil
}

var letterID = relay.KeyedID(slashed, "a letter")

func newOperator() *operator {
	return &operator{paused: map[relay.Queue]*relay.Pause{}, letters: map[string]relay.DeadLetter{
		letterID: {ID: letterID, Organization: slashed.Organization, Destination: slashed.Destination, Route: "message", Lane: "web01",
			Key: "a\x1fb", Sequence: 7, AcceptedAt: noon, DiedAt: noon.Add(time.Hour), Reason: relay.ReasonRejected, Attempts: 1, Status: 422,
			Detail: "say \"no\"\n", Bytes: 4, ContentType: "text/plain", Path: "/x?y=1", Body: []byte{0, 1, 0xff, '\n'}, Place: 3,
			History: &relay.History{Dropped: 2, Events: []relay.EventStatus{{At: noon, State: relay.Dead, Attempt: 1, Status: 422, Reason: relay.ReasonRejected}}}},
		relay.KeyedID(queue, "another"): {ID: relay.KeyedID(queue, "another"), Organization: queue.Organization, Destination: queue.Destination,
			Route: "facts", Sequence: 1 << 60, AcceptedAt: noon, DiedAt: noon, Reason: relay.ReasonMaxAge, Bytes: 9, Place: 4},
	}}
}

func (o *operator) Queues(context.Context) ([]relay.QueueStatus, error) {
	if o.fail != nil {
		return nil, o.fail
	}
	return []relay.QueueStatus{status(queue), status(slashed)}, nil
}

func status(q relay.Queue) relay.QueueStatus {
	return relay.QueueStatus{Organization: q.Organization, Destination: q.Destination, Accepted: 1 << 63, Pending: 3, RetriesHeld: 2, Delivering: 1, Waiting: 1,
		Delivered: 9, OldestAgeSeconds: 1.25, Bytes: 4096, QuotaBytes: 1 << 40, Breaker: "half-open", BreakerSince: &noon, BreakerReason: "why?", Drain: "d/1", Epoch: 4, Floor: 12, HeldBy: relay.HeldByShare}
}

func (o *operator) Queue(_ context.Context, q relay.Queue) (relay.QueueStatus, error) {
	if q != queue && q != slashed {
		return relay.QueueStatus{}, relay.Refuse(relay.CodeNotFound, "there is no queue %s", q)
	}
	s := status(q)
	s.Pause = o.paused[q]
	s.Paused = s.Pause != nil
	return s, o.fail
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

func (o *operator) Pause(_ context.Context, q relay.Queue, by, reason string) error {
	if q != queue && q != slashed {
		return relay.Refuse(relay.CodeNotFound, "there is no queue %s", q)
	}
	o.paused[q] = &relay.Pause{At: noon, By: by, Reason: reason}
	return o.fail
}

func (o *operator) Resume(_ context.Context, q relay.Queue) error {
	if o.paused[q] == nil {
		return relay.Refuse(relay.CodeNotFound, "there is no queue %s", q)
	}
	delete(o.paused, q)
	return o.fail
}

func (o *operator) Cancel(ctx context.Context, id string) error {
	if _, err := o.Message(ctx, id); err != nil {
		return err
	}
	return relay.Refuse(relay.CodeConflict, "message %s is dead; it cannot be cancelled", id)
}

// Purge says back what it was asked for.
func (o *operator) Purge(_ context.Context, q relay.Queue, f relay.PurgeFilter) (relay.Purged, error) {
	if q != queue && q != slashed {
		return relay.Purged{}, relay.Refuse(relay.CodeNotFound, "there is no queue %s", q)
	}
	if f.Route == "" {
		return relay.Purged{Discarded: 1}, o.fail
	}
	asked := fmt.Sprint(f.Route, f.Host, f.Before.UTC().Format(time.RFC3339Nano), f.DryRun)
	return relay.Purged{Discarded: uint64(len(asked)), Underway: 1, Next: f.From + 1}, o.fail
}

func (o *operator) Peek(_ context.Context, q relay.Queue, options relay.PeekOptions) (relay.MessageList, error) {
	row := summary(q)
	if options.Body {
		row.Body = []byte{0, 0xff}
	}
	return relay.MessageList{Messages: []relay.MessageSummary{row}, Incomplete: fmt.Sprint("limit ", options.Limit)}, o.fail
}

// Messages says back what it was asked for.
func (o *operator) Messages(_ context.Context, f relay.MessageFilter) (relay.MessageList, error) {
	if err := f.Check(); err != nil {
		return relay.MessageList{}, err
	}
	of := "all"
	if f.Queue != nil {
		of = f.Queue.String()
	}
	asked := fmt.Sprintln(of, f.State, f.Route, f.Host, f.Since.UTC(), f.Limit)
	return relay.MessageList{Messages: []relay.MessageSummary{}, Incomplete: asked}, o.fail
}

func summary(q relay.Queue) relay.MessageSummary {
	next := noon.Add(time.Second)
	return relay.MessageSummary{ID: relay.KeyedID(q, "row"), Organization: q.Organization, Destination: q.Destination, State: relay.Waiting,
		Route: "report", Lane: "web01", Sequence: 1 << 60, AcceptedAt: noon, Bytes: 2, Attempts: 3, NextAttempt: &next, Reason: relay.ReasonTimeout}
}

func (o *operator) Why(ctx context.Context, id string) (relay.Explanation, error) {
	m, err := o.Message(ctx, id)
	if err != nil {
		return relay.Explanation{}, err
	}
	m.State, m.Events = relay.Queued, []relay.EventStatus{}
	ahead := summary(queue)
	return relay.Explain(relay.Case{Message: m, Queue: status(queue), Ahead: &ahead, AheadCount: 2}, noon), nil
}

func (o *operator) DeadLetters(_ context.Context, f relay.DeadLetterFilter) ([]relay.DeadLetter, error) {
	if err := f.Check(); err != nil {
		return nil, err
	}
	found := []relay.DeadLetter{}
	for _, id := range []string{letterID, relay.KeyedID(queue, "another")} {
		l, there := o.letters[id]
		if there && f.Matches(l) && l.Place > f.After && (f.Limit == 0 || len(found) < f.Limit) {
			l.Body, l.History = nil, nil
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

// Replay says back what it was asked to change.
func (o *operator) Replay(ctx context.Context, id string, e relay.Edit) (relay.Receipt, error) {
	l, err := o.DeadLetter(ctx, id)
	if err != nil {
		return relay.Receipt{}, err
	}
	if e.Header["Refused"] != "" {
		return relay.Receipt{}, relay.Refuse(relay.CodeConflict, "another edit")
	}
	delete(o.letters, id)
	return relay.Receipt{ID: relay.KeyedID(l.Queue(), "again"), State: relay.Accepted, Queue: l.Queue(), Durability: "os", AcceptedAt: noon,
		Location: fmt.Sprintf("%v %s", e.Header, e.Set)}, nil
}

func (o *operator) Causes(ctx context.Context, f relay.DeadLetterFilter) (relay.CauseReport, error) {
	limit := f.Limit
	f.Limit = 0
	letters, err := o.DeadLetters(ctx, f)
	if err != nil {
		return relay.CauseReport{}, err
	}
	var causes relay.Causes
	for _, l := range letters {
		causes.Add(l)
	}
	return causes.Report(limit), nil
}

func (o *operator) ExportDeadLetter(ctx context.Context, id string) (relay.ExportedLetter, error) {
	l, err := o.DeadLetter(ctx, id)
	if err != nil {
		return relay.ExportedLetter{}, err
	}
	x := relay.ExportedLetter{Version: relay.ExportVersion, ID: id, Queue: l.Queue(), Reason: l.Reason, DiedAt: l.DiedAt, History: l.History,
		Envelope: map[string]string{"Relay-Key": "a%1Fb"}}
	x.SetBody(l.Body)
	return x, nil
}

func (o *operator) ImportDeadLetter(_ context.Context, x relay.ExportedLetter) (relay.ImportedLetter, error) {
	if x.Queue != queue && x.Queue != slashed {
		return relay.ImportedLetter{}, relay.Refuse(relay.CodeNotFound, "letter %s is of queue %s", x.ID, x.Queue)
	}
	_, known := o.letters[x.ID]
	o.letters[x.ID] = relay.DeadLetter{ID: x.ID, Organization: x.Queue.Organization, Destination: x.Queue.Destination, Reason: x.Reason,
		DiedAt: x.DiedAt, Body: x.Body(), Key: x.Envelope["Relay-Key"], History: x.History}
	return relay.ImportedLetter{ID: x.ID, Queue: x.Queue, Known: known, Sequence: 1 << 60}, nil
}

func (o *operator) Discard(ctx context.Context, id string) error {
	_, err := o.DeadLetter(ctx, id)
	delete(o.letters, id)
	return err
}

func (o *operator) Audit(_ context.Context, a relay.AuditOptions) ([]relay.AuditReport, error) {
	of, q := queue, a.Queue
	if q != nil {
		of = *q
	}
	return []relay.AuditReport{{Organization: of.Organization, Destination: of.Destination, Balanced: q == nil, Accepted: 2,
		Totals: relay.Totals{relay.Delivered: 1}, Trusted: &a.Since, Findings: []relay.AuditFinding{{Sequence: 3, What: "lost"}},
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
	tell("cancelled", o.Cancel(ctx, letterID))
	tell("cancelled", o.Cancel(ctx, gone))
	for _, q := range []relay.Queue{queue, slashed, unknown} {
		s, err := o.Queue(ctx, q)
		tell(s, err)
		reports, err := o.Audit(ctx, relay.AuditOptions{Queue: &q})
		tell(reports, err)
		tell("paused", o.Pause(ctx, q, "who?", "wh&y=\n"))
		s, err = o.Queue(ctx, q)
		tell(s, err)
		tell("resumed", o.Resume(ctx, q))
		for _, f := range []relay.PurgeFilter{{}, {Route: "r&", Host: "h", Before: noon, From: 1 << 60, DryRun: true}} {
			purged, err := o.Purge(ctx, q, f)
			tell(purged, err)
		}
		for _, options := range []relay.PeekOptions{{}, {Limit: 3, Body: true}} {
			list, err := o.Peek(ctx, q, options)
			tell(list, err)
		}
		list, err := o.Messages(ctx, relay.MessageFilter{Queue: &q, State: relay.Waiting, Route: "a", Host: "b c&", Since: noon.Add(time.Nanosecond), Limit: 9})
		tell(list, err)
		for _, limit := range []int{0, 1} {
			letters, err := o.DeadLetters(ctx, relay.DeadLetterFilter{Queue: &q, Limit: limit})
			tell(letters, err)
		}
	}
	for _, f := range []relay.MessageFilter{{}, {State: "nowhere"}, {Limit: relay.MaxMessageLimit + 1}} {
		list, err := o.Messages(ctx, f)
		tell(list, err)
	}
	letters, err := o.DeadLetters(ctx, relay.DeadLetterFilter{Limit: 1})
	tell(letters, err)
	for _, expression := range []string{"reason=rejected", "reason!=rejected,route=facts", `detail~say "no"`, "key~\x1f", "status=422,host=web01", "path=/x?y=1"} {
		where, err := relay.ParseWhere(expression)
		tell(where, err)
		letters, err := o.DeadLetters(ctx, relay.DeadLetterFilter{Where: where, Since: noon})
		tell(letters, err)
	}
	letters, err = o.DeadLetters(ctx, relay.DeadLetterFilter{Since: noon.Add(time.Minute)})
	tell(letters, err)
	for _, f := range []relay.DeadLetterFilter{{}, {Limit: 1}, {Queue: &queue}, {Since: noon.Add(time.Minute)}} {
		report, err := o.Causes(ctx, f)
		tell(report, err)
	}
	for _, f := range []relay.DeadLetterFilter{{Queue: &queue, After: 4}, {Queue: &queue, After: 3}, {After: 3}, {Limit: relay.MaxDeadLetterLimit + 1}} {
		letters, err = o.DeadLetters(ctx, f)
		tell(letters, err)
	}
	var each []string
	err = relay.EachDeadLetter(ctx, o, relay.DeadLetterFilter{}, func(l relay.DeadLetter) error {
		each = append(each, l.ID)
		return nil
	})
	tell(each, err)
	x, err := o.ExportDeadLetter(ctx, letterID)
	tell(x, err)
	for _, change := range []func(*relay.ExportedLetter){func(*relay.ExportedLetter) {}, func(x *relay.ExportedLetter) { x.Queue = unknown },
		func(x *relay.ExportedLetter) { x.SetBody([]byte("text\u2028")) }} {
		change(&x)
		done, err := o.ImportDeadLetter(ctx, x)
		tell(done, err)
		l, err := o.DeadLetter(ctx, letterID)
		tell(l, err)
	}
	edit := relay.Edit{Header: map[string]string{"Refused": "y\u2028"}, Set: []relay.Replacement{{Pointer: "/a~1b", Value: []byte(`{"c":1.0}`)}}}
	refused, err := o.Replay(ctx, letterID, edit)
	tell(refused, err)
	edit.Header = map[string]string{"Accept": ""}
	reports, err := o.Audit(ctx, relay.AuditOptions{Since: noon.Add(time.Nanosecond)})
	tell(reports, err)
	for _, id := range []string{letterID, gone, "a b/c?d%41", "..", letterID} {
		m, err := o.Message(ctx, id)
		tell(m, err)
		e, err := o.Why(ctx, id)
		tell(e, err)
		l, err := o.DeadLetter(ctx, id)
		tell(l, err)
		r, err := o.Replay(ctx, id, edit)
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
