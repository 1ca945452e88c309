package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/theforeman/foreman-relay/relay"
)

// ensureStreams makes what is missing and refuses what has been changed behind
// our back. It returns whether anything was made: that is behind a barrier too.
func (b *Broker) ensureStreams(ctx context.Context, queues []relay.Queue) (made bool, err error) {
	o, js := b.options, b.js
	var want []jetstream.StreamConfig
	organizations := map[string]bool{}
	for _, destination := range destinations(queues) {
		want = append(want, eventConfig(destination), keyConfig(destination, o.RecordWindow))
	}
	for _, q := range queues {
		want = append(want, journalConfig(q, b.quota(q)))
		if !organizations[q.Organization] {
			organizations[q.Organization] = true
			want = append(want, deadConfig(q.Organization, o.DeadQuotaBytes))
		}
	}
	for _, c := range want {
		m, err := ensureStream(ctx, js, c)
		if err != nil {
			return made, err
		}
		made = made || m
	}
	for _, q := range queues {
		m, err := ensureConsumer(ctx, js, q)
		if err != nil {
			return made, err
		}
		made = made || m
	}
	return made, nil
}

func ensureStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) (bool, error) {
	s, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if _, err := js.CreateStream(ctx, want); err != nil {
			return false, fmt.Errorf("make stream %s: %w", want.Name, err)
		}
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at stream %s: %w", want.Name, err)
	}
	have := s.CachedInfo().Config
	if err := drift(have, want); err != nil {
		return false, fmt.Errorf("stream %s is not as this program made it: %w; put it back, or move the state directory away", want.Name, err)
	}
	if have.MaxBytes != want.MaxBytes || have.MaxAge != want.MaxAge { // limits follow the configuration
		have.MaxBytes, have.MaxAge = want.MaxBytes, want.MaxAge
		if _, err := js.UpdateStream(ctx, have); err != nil {
			return false, fmt.Errorf("change the limits of stream %s: %w", want.Name, err)
		}
		return true, nil
	}
	return false, nil
}

// drift names the first property that makes a stream unsafe to use.
func drift(have, want jetstream.StreamConfig) error {
	for _, p := range []struct {
		name       string
		have, want any
		same       bool
	}{
		{"subjects", have.Subjects, want.Subjects, slices.Equal(have.Subjects, want.Subjects)},
		{"retention", have.Retention, want.Retention, have.Retention == want.Retention},
		{"discard", have.Discard, want.Discard, have.Discard == want.Discard},
		{"storage", have.Storage, want.Storage, have.Storage == want.Storage},
		{"max_msgs", have.MaxMsgs, -1, have.MaxMsgs <= 0},
		{"max_msgs_per_subject", have.MaxMsgsPerSubject, -1, have.MaxMsgsPerSubject <= 0},
		{"max_age", have.MaxAge, want.MaxAge, have.MaxAge == want.MaxAge || want.MaxAge > 0},
		{"sealed", have.Sealed, false, !have.Sealed},
		{"allow_direct", have.AllowDirect, true, have.AllowDirect},
		{"persist_mode", have.PersistMode, want.PersistMode, have.PersistMode == want.PersistMode},
		{"mirror", have.Mirror, nil, have.Mirror == nil},
		{"sources", len(have.Sources), 0, len(have.Sources) == 0},
		{"subject_transform", have.SubjectTransform, nil, have.SubjectTransform == nil},
		{"metadata", have.Metadata, want.Metadata, subset(want.Metadata, have.Metadata)},
	} {
		if !p.same {
			return fmt.Errorf("%s is %v, not %v", p.name, p.have, p.want)
		}
	}
	return nil
}

// subset: the server adds entries of its own to a stream's metadata.
func subset(want, have map[string]string) bool {
	for k := range maps.Keys(want) {
		if have[k] != want[k] {
			return false
		}
	}
	return true
}

func ensureConsumer(ctx context.Context, js jetstream.JetStream, q relay.Queue) (bool, error) {
	want := consumerConfig(q.Destination)
	c, err := js.Consumer(ctx, journalStream(q), want.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		if _, err := js.CreateConsumer(ctx, journalStream(q), want); err != nil {
			return false, fmt.Errorf("make the consumer of %s: %w", q, err)
		}
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at the consumer of %s: %w", q, err)
	}
	have := c.CachedInfo().Config
	if have.AckPolicy != want.AckPolicy || have.DeliverPolicy != want.DeliverPolicy || !have.HeadersOnly ||
		have.FilterSubject != "" || len(have.FilterSubjects) > 0 {
		return false, fmt.Errorf("consumer %s of %s is not as this program made it (ack %v, deliver %v, headers only %v, filters %q %v); delete it, it is made anew",
			want.Durable, q, have.AckPolicy, have.DeliverPolicy, have.HeadersOnly, have.FilterSubject, have.FilterSubjects)
	}
	return false, nil
}
