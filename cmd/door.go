package cmd

import (
	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// door is what is held against a request before its body is read.
func (s *server) door() handlers.DoorOptions {
	r := s.config.Rates
	return handlers.DoorOptions{Organization: s.broker.KnownOrganization, Senders: r.Senders, QuotaStatus: s.config.Limits.QuotaStatus,
		Rate: relay.OrganizationRate{PerSecond: r.PerSecond, Burst: r.Burst, SenderPerSecond: r.SenderPerSecond, SenderBurst: r.SenderBurst}}
}
