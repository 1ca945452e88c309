package relay_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

func TestTheSwitchInForeman(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	const why = `the smart proxy "edge1" is not assigned to it in Foreman`
	acme, science := relay.Assignment{ID: 3, Title: "ACME"}, relay.Assignment{ID: 4, Title: "ACME/R & D"}
	on := func(name string, id int64, by string) relay.Organization {
		return relay.Organization{Name: name, ForemanID: id, Enabled: true, ChangedBy: by}
	}
	off := func(name string, id int64, by string) relay.Organization {
		return relay.Organization{Name: name, ForemanID: id, ChangedBy: by, Why: "as it was"}
	}
	turned := func(o relay.Organization, enabled bool) relay.Organization {
		o.Enabled, o.ChangedBy, o.Changed, o.Why = enabled, relay.ChangedByForeman, now, ""
		if !enabled {
			o.Why = why
		}
		return o
	}
	for name, c := range map[string]struct {
		have     relay.Organization
		assigned []relay.Assignment
		want     *relay.Organization // nil: nothing changes
		unknown  []relay.Assignment
	}{
		"on, assigned":                        {on("ACME", 3, relay.ChangedByForeman), []relay.Assignment{acme}, nil, nil},
		"on, assigned, its id is learned":     {on("ACME", 0, relay.ChangedByConfiguration), []relay.Assignment{acme}, new(on("ACME", 3, relay.ChangedByConfiguration)), nil},
		"on, not assigned":                    {on("ACME", 3, relay.ChangedByForeman), nil, new(turned(on("ACME", 3, ""), false)), nil},
		"on by the configuration":             {on("ACME", 0, relay.ChangedByConfiguration), nil, new(turned(on("ACME", 0, ""), false)), nil},
		"on by an operator":                   {on("ACME", 0, relay.ChangedByOperator), nil, new(turned(on("ACME", 0, ""), false)), nil},
		"off by the switch, assigned":         {off("ACME", 3, relay.ChangedByForeman), []relay.Assignment{acme}, new(turned(on("ACME", 3, ""), true)), nil},
		"off by the switch, not assigned":     {off("ACME", 3, relay.ChangedByForeman), nil, nil, nil},
		"off by an operator, assigned":        {off("ACME", 3, relay.ChangedByOperator), []relay.Assignment{acme}, nil, nil},
		"off by the handshake, assigned":      {off("ACME", 3, relay.ChangedByHandshake), []relay.Assignment{acme}, nil, nil},
		"off by an operator, not assigned":    {off("ACME", 3, relay.ChangedByOperator), nil, nil, nil},
		"another is assigned":                 {on("ACME", 3, relay.ChangedByForeman), []relay.Assignment{acme, science}, nil, []relay.Assignment{science}},
		"only the child is assigned":          {on("ACME", 3, relay.ChangedByForeman), []relay.Assignment{science}, new(turned(on("ACME", 3, ""), false)), []relay.Assignment{science}},
		"renamed in Foreman":                  {on("Old", 3, relay.ChangedByForeman), []relay.Assignment{acme}, nil, nil},
		"made anew in Foreman, the same name": {on("ACME", 2, relay.ChangedByForeman), []relay.Assignment{acme}, new(on("ACME", 3, relay.ChangedByForeman)), nil},
		"the relay's own":                     {on(relay.DefaultOrganization, 0, relay.ChangedByConfiguration), nil, nil, nil},
		"the relay's own, known to Foreman":   {on(relay.DefaultOrganization, 9, ""), nil, new(turned(on(relay.DefaultOrganization, 9, ""), false)), nil},
	} {
		changed, unknown := relay.Switch([]relay.Organization{c.have}, relay.SwitchReport{Proxy: "edge1", Assigned: c.assigned}, now)
		var want []relay.Organization
		if c.want != nil {
			want = []relay.Organization{*c.want}
		}
		require.Equal(t, want, changed, name)
		require.Equal(t, c.unknown, unknown, name)
		again, _ := relay.Switch(slices.Concat(changed), relay.SwitchReport{Proxy: "edge1", Assigned: c.assigned}, now.Add(time.Hour))
		require.Empty(t, again, "%s: the same report again", name)
	}
}

func TestReportsOfTheSwitchThatAreRefused(t *testing.T) {
	many := make([]relay.Assignment, relay.MaxAssigned+1)
	for i := range many {
		many[i] = relay.Assignment{ID: int64(i + 1), Title: "x"}
	}
	require.NoError(t, relay.SwitchReport{Proxy: "edge1", Assigned: many[1:]}.Check())
	require.NoError(t, relay.SwitchReport{Proxy: "edge1", Assigned: []relay.Assignment{}}.Check())
	for name, r := range map[string]relay.SwitchReport{
		"no name": {Assigned: many[:1]}, "no list": {Proxy: "edge1"}, "too many": {Proxy: "edge1", Assigned: many},
		"no id": {Proxy: "edge1", Assigned: []relay.Assignment{{Title: "x"}}}, "no title": {Proxy: "edge1", Assigned: []relay.Assignment{{ID: 1}}},
	} {
		require.Error(t, r.Check(), name)
	}
}
