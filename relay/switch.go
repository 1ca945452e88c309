package relay

import (
	"fmt"
	"slices"
	"time"
)

// MaxAssigned bounds the organizations that one smart proxy may be assigned to;
// who has more is told, and nothing is switched.
const MaxAssigned = 5000

// Assignment is an organization that the relay's smart proxy is assigned to in
// Foreman.
type Assignment struct {
	ID    int64  `json:"id"`
	Title string `json:"title"`
}

// SwitchReport is what a drain has read in Foreman: all assignments of a smart
// proxy.
type SwitchReport struct {
	Proxy    string       `json:"proxy"` // its name
	Assigned []Assignment `json:"assigned"`
}

// SwitchReply is what the edge has done about a report; none of the lists is
// about what was so before.
type SwitchReply struct {
	Enabled  []string `json:"enabled,omitempty"`
	Disabled []string `json:"disabled,omitempty"`
	Made     []string `json:"made,omitempty"`
	Unknown  []string `json:"unknown,omitempty"` // assigned in Foreman, and not known to the relay
}

// Check refuses a report that would switch more off than somebody has meant.
func (r SwitchReport) Check() error {
	switch {
	case r.Proxy == "":
		return Refuse(CodeMalformed, "the report names no smart proxy")
	case r.Assigned == nil:
		return Refuse(CodeMalformed, "the report has no list of organizations; an empty one would be a list")
	case len(r.Assigned) > MaxAssigned:
		return Refuse(CodeTooLarge, "the smart proxy %q is assigned to %d organizations, more than %d", r.Proxy, len(r.Assigned), MaxAssigned)
	}
	for _, a := range r.Assigned {
		if a.ID <= 0 || a.Title == "" {
			return Refuse(CodeMalformed, "the report has an organization without id or title")
		}
	}
	return nil
}

// Switch says which organizations are to be stored anew because of a report, and
// which are new. It turns on what it has itself turned off, never what an
// operator, the handshake or the configuration has. DefaultOrganization is the
// relay's own and no organization of Foreman's, unless it is known as one.
func Switch(have []Organization, r SwitchReport, now time.Time) (changed []Organization, unknown []Assignment) {
	met := map[int64]bool{}
	for _, o := range have {
		a, assigned := assignmentOf(o, r.Assigned)
		met[a.ID] = met[a.ID] || assigned
		if next := o.switched(a, assigned, r.Proxy, now); next.Enabled != o.Enabled || next.ForemanID != o.ForemanID {
			changed = append(changed, next)
		}
	}
	for _, a := range r.Assigned {
		if !met[a.ID] {
			unknown = append(unknown, a)
		}
	}
	return changed, unknown
}

// assignmentOf finds an organization by its id, which outlives a new title, and
// else by its title.
func assignmentOf(o Organization, all []Assignment) (Assignment, bool) {
	i := slices.IndexFunc(all, func(a Assignment) bool { return o.ForemanID != 0 && a.ID == o.ForemanID })
	if i < 0 {
		i = slices.IndexFunc(all, func(a Assignment) bool { return a.Title == o.Name })
	}
	if i < 0 {
		return Assignment{}, false
	}
	return all[i], true
}

func (o Organization) switched(a Assignment, assigned bool, proxy string, now time.Time) Organization {
	switch {
	case assigned:
		o.ForemanID = a.ID
		if !o.Enabled && o.ChangedBy == ChangedByForeman {
			o.Enabled, o.Why, o.Changed = true, "", now
		}
	case o.Enabled && (o.Name != DefaultOrganization || o.ForemanID != 0):
		o.Enabled, o.ChangedBy, o.Changed = false, ChangedByForeman, now
		o.Why = fmt.Sprintf("the smart proxy %q is not assigned to it in Foreman", proxy)
	}
	return o
}

// AssignedOrganization is a new organization, made because Foreman has assigned
// the smart proxy to it.
func AssignedOrganization(a Assignment, now time.Time) Organization {
	return Organization{Name: a.Title, ForemanID: a.ID, Enabled: true, ChangedBy: ChangedByForeman, Changed: now}
}
