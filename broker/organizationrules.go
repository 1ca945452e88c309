package broker

import (
	"maps"
	"slices"

	"github.com/theforeman/foreman-relay/relay"
)

// organizationRules are the rules of all organizations as of one moment.
type organizationRules struct {
	of    *map[string]organization
	rules []relay.IdentityRule
}

// OrganizationRules are the rules of all organizations as they are at this moment,
// in the order of their names; nobody may change them. An organization's rule maps
// to it and to no other, whatever it says, and also while it is off: then it is
// refused in words.
func (b *Broker) OrganizationRules() []relay.IdentityRule {
	now := b.organizations.current.Load()
	if known := b.rules.Load(); known != nil && known.of == now {
		return known.rules // every request asks
	}
	if now == nil {
		return nil
	}
	fresh := &organizationRules{of: now}
	for _, name := range slices.Sorted(maps.Keys(*now)) {
		for _, rule := range (*now)[name].Rules {
			rule.Organization = name
			fresh.rules = append(fresh.rules, rule)
		}
	}
	b.rules.Store(fresh)
	return fresh.rules
}
