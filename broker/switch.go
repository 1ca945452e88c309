package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/theforeman/foreman-relay/relay"
)

// SwitchOptions say that Foreman switches organizations on and off.
type SwitchOptions struct {
	Create bool // make organizations that Foreman assigns and the relay does not know
}

// maxSwitchReport bounds a report in bytes: MaxAssigned titles of 255 bytes fit.
const maxSwitchReport = 2 << 20

// switches is the edge's side of Foreman's switch (relay/switch.go).
type switches struct {
	b      *Broker
	sub    *nats.Subscription
	ctx    context.Context //nolint:containedctx // ends with the broker
	cancel context.CancelFunc
	busy   sync.Mutex // held while a report is carried out
}

func openSwitches(b *Broker) (*switches, error) {
	s := &switches{b: b}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	var err error
	if s.sub, err = b.nc.Subscribe(switchSubject(relay.ForemanDestination), s.answer); err != nil {
		return nil, fmt.Errorf("listen for drains: %w", err)
	}
	return s, nil
}

// close returns when no report is being carried out any more.
func (s *switches) close() {
	_ = s.sub.Unsubscribe() // the connection is closed next
	s.cancel()
	s.busy.Lock()
	defer s.busy.Unlock()
}

func (s *switches) answer(msg *nats.Msg) {
	s.busy.Lock()
	defer s.busy.Unlock()
	reply := nats.NewMsg(msg.Reply)
	done, err := s.take(msg.Data)
	if err == nil {
		reply.Data, err = json.Marshal(done)
	}
	if err != nil {
		reply.Header.Set(hdrRefusal, relay.Excerpt([]byte(err.Error())))
	}
	if err := s.b.nc.PublishMsg(reply); err != nil {
		s.b.log.Warn().Err(err).Msg("a drain did not get its answer")
	}
}

func (s *switches) take(text []byte) (done relay.SwitchReply, err error) {
	var report relay.SwitchReport
	switch {
	case s.b.options.Switch == nil:
		return done, relay.Refuse(relay.CodeDenied, "organizations are switched by hand here: switch.by is manual in the edge's configuration")
	case len(text) > maxSwitchReport:
		return done, relay.Refuse(relay.CodeTooLarge, "the report has more than %d bytes", maxSwitchReport)
	}
	if err := json.Unmarshal(text, &report); err != nil {
		return done, relay.Refuse(relay.CodeMalformed, "the report cannot be read")
	}
	if err := report.Check(); err != nil {
		return done, err
	}
	have, err := s.b.Organizations(s.ctx)
	if err != nil {
		return done, err
	}
	changed, unknown := relay.Switch(have, report, time.Now().UTC())
	for _, o := range changed {
		if err := s.store(o.Name, report, &done); err != nil {
			return done, err
		}
	}
	return done, s.meet(unknown, &done)
}

// store carries one change out. Somebody who was faster is looked at with the
// next report.
func (s *switches) store(name string, report relay.SwitchReport, done *relay.SwitchReply) error {
	before, revision, err := s.b.Organization(s.ctx, name)
	if err != nil {
		return err
	}
	changed, _ := relay.Switch([]relay.Organization{before}, report, time.Now().UTC()) // of what this revision has
	if len(changed) == 0 {
		return nil
	}
	o := changed[0]
	_, err = s.b.PutOrganization(s.ctx, o, revision)
	switch {
	case err != nil && relay.CodeOf(err) != relay.CodeConflict:
		return err
	case err != nil:
		return nil //nolint:nilerr // the next report meets what is there then
	case o.Enabled == before.Enabled: // its id was learned
	case o.Enabled:
		done.Enabled = append(done.Enabled, o.Name)
		s.b.log.Info().Str("organization", o.Name).Msg("on: the smart proxy is assigned to it in Foreman")
	default:
		done.Disabled = append(done.Disabled, o.Name)
		s.b.log.Warn().Str("organization", o.Name).Msg("off: " + o.Why)
	}
	return nil
}

// meet makes the organizations that are not known, or says which they are.
func (s *switches) meet(unknown []relay.Assignment, done *relay.SwitchReply) error {
	for _, a := range unknown {
		if !s.b.options.Switch.Create {
			done.Unknown = append(done.Unknown, a.Title)
			continue
		}
		if _, err := s.b.PutOrganization(s.ctx, relay.AssignedOrganization(a, time.Now().UTC()), 0); err != nil {
			return err
		}
		done.Made = append(done.Made, a.Title)
		s.b.log.Info().Str("organization", a.Title).Msg("made: the smart proxy is assigned to it in Foreman")
	}
	return nil
}

// Switch tells the edge what Foreman's switch says.
func (c *Channel) Switch(ctx context.Context, r relay.SwitchReport) (done relay.SwitchReply, err error) {
	body, err := json.Marshal(r)
	if err != nil {
		return done, err
	}
	ctx, cancel, err := c.call(ctx)
	if err != nil {
		return done, err
	}
	defer cancel()
	if err := c.ask(ctx, switchSubject(c.destination), body, &done); err != nil {
		return done, fmt.Errorf("tell the edge what the switch in Foreman says: %w", err)
	}
	return done, nil
}
