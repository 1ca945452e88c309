package broker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// Journal and objects together have the quota: what does not fit is refused and
// leaves nothing, whether its size was known or not; small messages too.
func TestLargeBodiesCountInTheQuota(t *testing.T) {
	b := open(t, stateDir(t), func(o *broker.Options) { anyDisk(o); o.QuotaBytes = 12 << 20 })
	first := accept(t, b, message("a", "k", largeText(7<<20)))
	before := status(t, b, func(relay.QueueStatus) bool { return true })
	for _, m := range []*relay.Message{message("b", "", largeText(6<<20)), incoming("b", "", strings.NewReader(largeText(6<<20)))} {
		_, err := b.Accept(t.Context(), m)
		require.Equal(t, relay.CodeQuotaFull, relay.CodeOf(err))
		var refused *relay.Error
		require.ErrorAs(t, err, &refused)
		require.Positive(t, refused.RetryAfter)
	}
	again := accept(t, b, incoming("a", "k", strings.NewReader(largeText(7<<20))))
	require.Equal(t, []any{first.ID, true}, []any{again.ID, again.Replayed}, "what is there already needs no room")
	require.Len(t, broker.ObjectFiles(b, queue), 1)
	require.Equal(t, before.Bytes, status(t, b, func(relay.QueueStatus) bool { return true }).Bytes)
	accept(t, b, message("c", "", largeText(4<<20)))
	require.Eventually(t, func() bool {
		_, err := b.Accept(t.Context(), message("d", "", strings.Repeat("x", 20<<10)))
		return relay.CodeOf(err) == relay.CodeQuotaFull
	}, 60*time.Second, 10*time.Millisecond)
	require.Less(t, status(t, b, func(relay.QueueStatus) bool { return true }).Bytes, uint64(20<<20), "the journal alone has 12 MiB")

	drain(t, b, newCollector(), nil) // what is settled gives way
	status(t, b, settled)
	require.Eventually(t, func() bool {
		_, err := b.Accept(t.Context(), message("e", "", largeText(6<<20)))
		return err == nil
	}, 20*time.Second, 10*time.Millisecond)
}

// The reserve of the disk is kept while a body comes, and it leaves nothing.
func TestADiskThatFillsUpDuringAnUpload(t *testing.T) {
	b := open(t, stateDir(t), func(o *broker.Options) { anyDisk(o); o.ReserveBytes = 1 << 20 })
	text := largeText(3 << 20)
	slow := &gated{text: text, open: make(chan struct{}), at: make(chan struct{}, 1)}
	done := make(chan error)
	go func() {
		_, err := b.Accept(context.Background(), incoming("host", "", slow))
		done <- err
	}()
	<-slow.at
	broker.UseSpace(b, 1<<60)
	close(slow.open)
	require.Equal(t, relay.CodeStorageFull, relay.CodeOf(<-done))
	require.Less(t, slow.read, len(text), "it is not read to its end first")
	require.Empty(t, broker.ObjectFiles(b, queue))
}

// Only so many large bodies come at one time.
func TestUploadsAreBounded(t *testing.T) {
	b := open(t, stateDir(t), func(o *broker.Options) { anyDisk(o); o.MaxUploads = 1 })
	text := largeText(2 << 20)
	slow := &gated{text: text, open: make(chan struct{}), at: make(chan struct{}, 1)}
	done := make(chan error)
	go func() {
		_, err := b.Accept(context.Background(), incoming("host", "", slow))
		done <- err
	}()
	<-slow.at
	_, err := b.Accept(t.Context(), incoming("host", "", strings.NewReader(text)))
	require.Equal(t, relay.CodeTooManyRequests, relay.CodeOf(err))
	accept(t, b, message("host", "", "small ones go on"))
	close(slow.open)
	require.NoError(t, <-done)
	accept(t, b, incoming("host", "", strings.NewReader(text)))
}
