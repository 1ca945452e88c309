package broker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/theforeman/foreman-relay/relay"
)

const (
	// DefaultOrganizations is how many organizations there may be. Each costs a
	// stream a destination and one for its dead letters.
	DefaultOrganizations = 1000

	// MaxQuota bounds a quota in bytes: the broker sets the sum of all aside, and could
	// not be started with more than it may (maxStore).
	MaxQuota = 1 << 50

	// maxOrganization bounds one organization as it is stored, in bytes.
	maxOrganization = 256 << 10
)

// organization is one with the revision under which it is stored; 0: it is not
// yet.
type organization struct {
	relay.Organization
	revision uint64
}

// KnownOrganization is an organization as it is at this moment. It waits for
// nothing. What it answers is on the disk, but for what the configuration names
// while nothing can be written.
func (b *Broker) KnownOrganization(name string) (relay.Organization, bool) {
	o, known := b.organizations.all()[name]
	return o.Organization, known
}

// Organizations lists all organizations by name (relay.Organizations).
func (b *Broker) Organizations(context.Context) ([]relay.Organization, error) {
	var all []relay.Organization
	for _, o := range b.organizations.all() {
		all = append(all, o.Organization)
	}
	slices.SortFunc(all, func(x, y relay.Organization) int { return cmp.Compare(x.Name, y.Name) })
	return all, nil
}

// Organization is one of them and its revision (relay.Organizations).
func (b *Broker) Organization(_ context.Context, name string) (relay.Organization, uint64, error) {
	o, known := b.organizations.all()[name]
	if !known {
		return relay.Organization{}, 0, noOrganization(name)
	}
	return o.Organization, o.revision, nil
}

func noOrganization(name string) error {
	return relay.Refuse(relay.CodeNotFound, "there is no organization %q", name)
}

// PutOrganization stores an organization and returns when that is on the disk; its
// queues, limits and switch are as it says then (relay.Organizations). After
// CodeUnavailable it may or may not be stored: read it again.
func (b *Broker) PutOrganization(ctx context.Context, o relay.Organization, revision uint64) (uint64, error) {
	value, err := encodeOrganization(o)
	if err != nil {
		return 0, err
	}
	b.growth.Lock()
	defer b.growth.Unlock()
	if b.beside == nil {
		return 0, errStopping
	}
	if err := b.mayPut(o, revision); err != nil {
		return 0, err
	}
	if err := b.health.admit(); err != nil {
		return 0, err
	}
	// What is stored gets its queues too, whoever waits no more for the answer.
	bounded, cancel := b.boundGrowth(context.WithoutCancel(ctx))
	defer cancel()
	next, err := b.putOrganization(bounded, o, value, revision)
	if err == nil || relay.CodeOf(err) == relay.CodeConflict {
		return next, err
	}
	b.growLater(o.Name)
	return 0, unavailable(told(bounded, err))
}

// putOrganization does as an organization says, and stores it; for holders of
// growth.
func (b *Broker) putOrganization(ctx context.Context, o relay.Organization, value []byte, revision uint64) (uint64, error) {
	missing := b.missing(o.Name)
	if _, err := b.ensureStreams(ctx, missing); err != nil { // so that a start finds them
		return 0, err
	}
	next, err := b.storeOrganization(ctx, o, value, revision)
	if err != nil && relay.CodeOf(err) != relay.CodeConflict {
		return 0, err
	}
	if grown := b.grow(ctx, missing); grown != nil { // after a conflict for what was stored before
		return 0, grown
	}
	if limited := b.limit(ctx, o.Name); limited != nil {
		return 0, limited
	}
	for _, q := range b.queuesOf(o.Name) {
		b.leases.nudge(q.Destination)
	}
	return next, err
}

// limit has the journals of an organization follow its quota.
func (b *Broker) limit(ctx context.Context, name string) error {
	for _, q := range b.queuesOf(name) {
		if _, err := ensureStream(ctx, b.js, journalConfig(q, b.quota(q))); err != nil {
			return err
		}
	}
	return nil
}

// rememberOrganization holds an organization in memory, and makes the list of rules anew: it
// is looked through for every request. For holders of growth, and at the start.
func (b *Broker) rememberOrganization(name string, o organization) {
	b.organizations.put(name, o)
	var rules []relay.IdentityRule
	all := b.organizations.all()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, r := range all[name].Rules {
			r.Organization = name // it cannot send its callers to another one
			rules = append(rules, r)
		}
	}
	b.rules.Store(&rules)
}

// IdentityRules are those of all organizations, in the order of their names.
func (b *Broker) IdentityRules() []relay.IdentityRule {
	if rules := b.rules.Load(); rules != nil {
		return *rules
	}
	return nil
}

// mayPut says why an organization is not stored, if there is a reason; for holders
// of growth. Nobody else writes to the bucket, so what is in memory is what counts.
func (b *Broker) mayPut(o relay.Organization, revision uint64) error {
	have, known := b.organizations.all()[o.Name]
	switch {
	case !known && revision != 0:
		return noOrganization(o.Name)
	case have.revision != revision:
		return relay.Refuse(relay.CodeConflict, "organization %q was changed meanwhile, or is there already: read it again, and change what is there now", o.Name)
	case known:
		return nil
	case len(b.organizations.all()) >= b.options.MaxOrganizations:
		return relay.Refuse(relay.CodeConflict, "there are %d organizations already, and no more are allowed", b.options.MaxOrganizations)
	}
	for _, q := range b.queuesOf(o.Name) {
		if other, taken := b.queues()[q.Token()]; taken && other != q {
			return relay.Refuse(relay.CodeConflict, "queues %s and %s have the same token; rename one organization", other, q)
		}
	}
	for name := range b.organizations.all() {
		if orgToken(name) == orgToken(o.Name) {
			return relay.Refuse(relay.CodeConflict, "organizations %q and %q have the same token; rename one", name, o.Name)
		}
	}
	return nil
}

func encodeOrganization(o relay.Organization) ([]byte, error) {
	if err := CheckQueue(relay.Queue{Organization: o.Name, Destination: relay.ForemanDestination}); err != nil {
		return nil, relay.Refuse(relay.CodeMalformed, "%v", err)
	}
	if q := o.Quota; min(q.Bytes, q.Messages, q.MessageBytes, int64(o.Weight)) < 0 || o.Weight > relay.MaxWeight {
		return nil, relay.Refuse(relay.CodeMalformed, "organization %q: quotas must not be negative, and weight must be from 0 to %d", o.Name, relay.MaxWeight)
	}
	if o.Quota.Bytes > MaxQuota {
		return nil, relay.Refuse(relay.CodeMalformed, "organization %q: a quota of %d bytes, and %d may be", o.Name, o.Quota.Bytes, int64(MaxQuota))
	}
	if r := o.Rate; min(r.PerSecond, r.SenderPerSecond, float64(r.Burst), float64(r.SenderBurst)) < 0 { // that would be none
		return nil, relay.Refuse(relay.CodeMalformed, "organization %q: rates must not be negative", o.Name)
	}
	for i, r := range o.Rules {
		if problems := r.Problems(); len(problems) > 0 {
			return nil, relay.Refuse(relay.CodeMalformed, "organization %q: rules[%d].%v", o.Name, i, problems[0])
		}
	}
	if o.Name == relay.OrganizationOfSubject { // its rules would take any O
		return nil, relay.Refuse(relay.CodeMalformed, "an organization cannot be called %q: in a rule that stands for the certificate's O", o.Name)
	}
	value, err := json.Marshal(o)
	if err == nil && len(value) > maxOrganization {
		err = relay.Refuse(relay.CodeTooLarge, "organization %q takes %d bytes, more than %d: give it fewer rules", o.Name, len(value), maxOrganization)
	}
	return value, err
}

// storeOrganization stores and remembers one; for holders of growth. A write of
// which nobody knows whether it was carried out is looked for before the next.
func (b *Broker) storeOrganization(ctx context.Context, o relay.Organization, value []byte, revision uint64) (uint64, error) {
	next, err := b.writeOrganization(ctx, o.Name, value, revision)
	if err != nil {
		return 0, err
	}
	if err := b.sync(ctx); err != nil {
		return 0, err
	}
	b.rememberOrganization(o.Name, organization{o, next})
	return next, nil
}

func (b *Broker) writeOrganization(ctx context.Context, name string, value []byte, revision uint64) (next uint64, err error) {
	key := organizationKey(name)
	if revision == 0 {
		next, err = b.kv.Create(ctx, key, value)
	} else {
		next, err = b.kv.Update(ctx, key, value, revision)
	}
	if err == nil {
		return next, nil
	}
	var refused *jetstream.APIError
	if errors.Is(err, jetstream.ErrKeyExists) || errors.As(err, &refused) && int(refused.ErrorCode) == codeWrongLastSequence {
		if err := b.readOrganization(ctx, name); err != nil {
			return 0, err
		}
		return 0, relay.Refuse(relay.CodeConflict, "organization %q was stored meanwhile: read it again, and change what is there now", name)
	}
	return 0, fmt.Errorf("store organization %q: %w", name, err)
}

// readOrganization takes over what is stored of one.
func (b *Broker) readOrganization(ctx context.Context, name string) error {
	s, err := get(ctx, b.nc, apiGet(kvStream)+"."+kvSubject(organizationKey(name)), nil)
	if err != nil {
		return fmt.Errorf("read organization %q: %w", name, err)
	}
	return b.takeOrganization(s)
}

func (b *Broker) takeOrganization(s *stored) error {
	var o relay.Organization
	if err := json.Unmarshal(s.data, &o); err != nil {
		return fmt.Errorf("what is stored as %s is no organization: %w", s.subject, err)
	}
	if kvSubject(organizationKey(o.Name)) != s.subject {
		return fmt.Errorf("what is stored as %s is the organization %q", s.subject, o.Name)
	}
	b.rememberOrganization(o.Name, organization{o, s.sequence})
	return nil
}

// loadOrganizations reads all that are stored, and takes up those that only the
// configuration names.
func (b *Broker) loadOrganizations(ctx context.Context) error {
	err := scan(ctx, b.nc, apiGet(kvStream), kvSubject(organizationKeys), 1, b.takeOrganization)
	if err != nil {
		return fmt.Errorf("read the organizations: %w", err)
	}
	for _, q := range b.options.Queues {
		if _, known := b.organizations.all()[q.Organization]; !known {
			b.rememberOrganization(q.Organization, organization{Organization: relay.Organization{Name: q.Organization, Enabled: true,
				ChangedBy: relay.ChangedByConfiguration, Changed: time.Now().UTC()}})
		}
	}
	return nil
}

// storeOrganizations stores those that only the configuration names, unless
// nothing can be written: then the start of the store that follows does it.
func (b *Broker) storeOrganizations(ctx context.Context) error {
	if b.begun == 0 {
		return nil
	}
	all := b.organizations.all()
	for _, name := range slices.SortedFunc(maps.Keys(all), strings.Compare) {
		if all[name].revision != 0 {
			continue
		}
		value, err := encodeOrganization(all[name].Organization)
		if err != nil {
			return err
		}
		if _, err := b.storeOrganization(ctx, all[name].Organization, value, 0); err != nil {
			return err
		}
	}
	return nil
}
