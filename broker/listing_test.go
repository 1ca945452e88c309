package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// anyDisk: what a listing shows does not depend on what is on the disk.
func anyDisk(o *broker.Options) { o.Durability = broker.ModeOS }

func bodiesOf(rows []relay.MessageSummary) string {
	var bodies []string
	for _, r := range rows {
		bodies = append(bodies, string(r.Body))
	}
	return strings.Join(bodies, " ")
}

func ids(rows []relay.MessageSummary) []string {
	var ids []string
	for _, r := range rows {
		ids = append(ids, r.ID)
	}
	return ids
}

// A peek shows what is pending in journal order, past what is settled, and
// changes nothing.
func TestPeek(t *testing.T) {
	b := open(t, stateDir(t), anyDisk)
	list, err := b.Peek(t.Context(), queue, relay.PeekOptions{})
	require.NoError(t, err)
	require.Equal(t, relay.MessageList{Messages: []relay.MessageSummary{}}, list)
	for i := range 20 {
		m := message("host"+fmt.Sprint(i), "", fmt.Sprint(i))
		accept(t, b, m)
		if i%2 == 0 {
			require.NoError(t, broker.Record(t.Context(), b, queue, relay.Event{Sequence: uint64(i + 1), ID: m.ID, State: relay.Delivered}))
		}
	}
	before := status(t, b, func(s relay.QueueStatus) bool { return s.Delivered == 10 })
	list, err = b.Peek(t.Context(), queue, relay.PeekOptions{Limit: 4, Body: true})
	require.NoError(t, err)
	require.Equal(t, "1 3 5 7", bodiesOf(list.Messages))
	require.Empty(t, list.Incomplete)
	row := list.Messages[1]
	require.Equal(t, []any{relay.Queued, "message", "host3", uint64(4), 1}, []any{row.State, row.Route, row.Lane, row.Sequence, row.Bytes})
	list, err = b.Peek(t.Context(), queue, relay.PeekOptions{Limit: 100})
	require.NoError(t, err)
	require.Len(t, list.Messages, 10)
	require.Nil(t, list.Messages[0].Body)
	require.Equal(t, 2, list.Messages[9].Bytes, "the size is known without the body")
	after := status(t, b, func(relay.QueueStatus) bool { return true })
	before.OldestAgeSeconds, after.OldestAgeSeconds = 0, 0
	require.Equal(t, before, after)
	_, err = b.Peek(t.Context(), relay.Queue{Organization: "x", Destination: "y"}, relay.PeekOptions{})
	require.Equal(t, relay.CodeNotFound, relay.CodeOf(err))
	_, err = b.Peek(t.Context(), queue, relay.PeekOptions{Limit: relay.MaxMessageLimit + 1})
	require.Equal(t, relay.CodeMalformed, relay.CodeOf(err))
}

// One answer holds so many bodies; the list ends there and says so.
func TestPeekOfLargeBodies(t *testing.T) {
	b := open(t, stateDir(t), anyDisk)
	large := strings.Repeat("x", relay.MaxInline)
	for range relay.MaxPeekBodies/relay.MaxInline + 1 {
		accept(t, b, message("", "", large))
	}
	list, err := b.Peek(t.Context(), queue, relay.PeekOptions{Body: true, Limit: 100})
	require.NoError(t, err)
	require.Len(t, list.Messages, relay.MaxPeekBodies/relay.MaxInline)
	require.Contains(t, list.Incomplete, "32 MiB")
}

// A listing shows the newest first, with the states of the account, also over
// several windows of the journal.
func TestMessages(t *testing.T) {
	b := open(t, stateDir(t), anyDisk)
	var all []string
	for i := range 6000 {
		m := message(fmt.Sprintf("host%d.example.com", i%7), "", fmt.Sprint(i))
		if i%1000 == 5 {
			m.Route = "rare"
		}
		accept(t, b, m)
		all = append(all, m.ID)
	}
	for i, state := range []relay.State{relay.Delivered, relay.Discarded, relay.Duplicate} {
		require.NoError(t, broker.Record(t.Context(), b, queue, relay.Event{Sequence: uint64(i + 1), ID: all[i], State: state}))
	}
	next := time.Now().Add(time.Hour).Truncate(time.Millisecond).UTC()
	require.NoError(t, broker.Record(t.Context(), b, queue, relay.Event{Sequence: 6000, ID: all[5999], State: relay.Waiting, Attempt: 2, Next: next, Reason: relay.ReasonTimeout}))
	list := func(f relay.MessageFilter) []relay.MessageSummary {
		t.Helper()
		got, err := b.Messages(t.Context(), f)
		require.NoError(t, err)
		require.Empty(t, got.Incomplete)
		return got.Messages
	}
	newest := list(relay.MessageFilter{Limit: 3})
	require.Equal(t, []string{all[5999], all[5998], all[5997]}, ids(newest))
	require.Equal(t, []any{relay.Waiting, 2, relay.ReasonTimeout, &next}, []any{newest[0].State, newest[0].Attempts, newest[0].Reason, newest[0].NextAttempt})
	require.Len(t, list(relay.MessageFilter{}), relay.DefaultMessageLimit)
	require.Equal(t, []string{all[2]}, ids(list(relay.MessageFilter{State: relay.Duplicate})), "found at the other end")
	require.Equal(t, []string{all[1]}, ids(list(relay.MessageFilter{State: relay.Discarded, Queue: &queue})))
	require.Equal(t, []string{all[5999]}, ids(list(relay.MessageFilter{State: relay.Waiting})))
	require.Equal(t, []string{all[5005], all[4005], all[3005], all[2005], all[1005], all[5]}, ids(list(relay.MessageFilter{Route: "rare"})))
	require.Equal(t, []string{all[5005], all[4005]}, ids(list(relay.MessageFilter{Route: "rare", Limit: 2})))
	byHost := list(relay.MessageFilter{Host: "Host3.Example.com ", Limit: 900})
	require.Len(t, byHost, 857)
	require.Equal(t, all[3], byHost[856].ID)
	require.Empty(t, list(relay.MessageFilter{Since: time.Now().Add(time.Minute)}))
	require.Equal(t, ids(newest), ids(list(relay.MessageFilter{Since: newest[2].AcceptedAt})))
	require.Empty(t, list(relay.MessageFilter{Host: "nobody"}))
	_, err := b.Messages(t.Context(), relay.MessageFilter{Queue: &relay.Queue{Organization: "x", Destination: "y"}})
	require.Equal(t, relay.CodeNotFound, relay.CodeOf(err))
}

// The scan is bounded, and says so; the bound is shared by the queues.
func TestMessagesSaysWhereItStopped(t *testing.T) {
	t.Parallel()
	b := open(t, stateDir(t), func(o *broker.Options) {
		anyDisk(o)
		for i := range 99 {
			o.Queues = append(o.Queues, relay.Queue{Organization: fmt.Sprint("org ", i), Destination: "foreman"})
		}
	})
	share := relay.MaxMessagesScanned / 100
	for i := range share + 1 {
		accept(t, b, message("host", "", fmt.Sprint(i)))
	}
	got, err := b.Messages(t.Context(), relay.MessageFilter{Limit: share + 2})
	require.NoError(t, err)
	require.Len(t, got.Messages, share)
	require.Contains(t, got.Incomplete, fmt.Sprintf("%d messages of default/foreman were looked at", share))
	one, err := b.Messages(t.Context(), relay.MessageFilter{Queue: &queue, Limit: share + 2})
	require.NoError(t, err)
	require.Len(t, one.Messages, share+1)
	require.Empty(t, one.Incomplete)
}

// The states of a listing are those of the events, over a restart too, and
// survive the trimming only as long as the journal does.
func TestStatesOverARestart(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, anyDisk)
	want := []relay.State{relay.Superseded, relay.Queued, relay.Cancelled, relay.Delivered, relay.Duplicate}
	for i, state := range want {
		m := message("host", "", "x")
		accept(t, b, m)
		if state != relay.Queued {
			require.NoError(t, broker.Record(t.Context(), b, queue, relay.Event{Sequence: uint64(i + 1), ID: m.ID, State: state}))
		}
	}
	for range 2 {
		got, err := b.Messages(t.Context(), relay.MessageFilter{})
		require.NoError(t, err)
		for i, row := range got.Messages {
			require.Equal(t, want[len(want)-1-i], row.State)
		}
		require.Len(t, got.Messages, len(want))
		b.Close()
		b = open(t, dir, anyDisk)
	}
}
