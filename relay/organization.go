package relay

import (
	"context"
	"time"
)

// Organization is a tenant as all edges and drains see it: shared state, kept in
// the broker. Its name is the title that Foreman has for it, with blanks and
// slashes as they are there.
type Organization struct {
	Name      string `json:"name"`
	ForemanID int64  `json:"foreman_id,omitempty"` // 0: not known

	Enabled   bool      `json:"enabled"`
	Why       string    `json:"why,omitempty"`        // it is off, for whoever is refused and for operators
	ChangedBy string    `json:"changed_by,omitempty"` // who switched it last: one of ChangedBy…
	Changed   time.Time `json:"changed,omitzero"`

	Rules  []IdentityRule    `json:"rules,omitempty"` // after those of the configuration
	Quota  OrganizationQuota `json:"quota,omitzero"`
	Rate   OrganizationRate  `json:"rate,omitzero"`
	Weight int               `json:"weight,omitempty"` // share of a destination; 0: the configured one
	Sealed bool              `json:"sealed,omitempty"` // bodies are encrypted to the drain's key before they are stored
}

// Who may have changed an organization.
const (
	ChangedByConfiguration = "configuration"
	ChangedByOperator      = "operator"
	ChangedByForeman       = "foreman" // the smart proxy's assignment
	ChangedByHandshake     = "handshake"
)

// OrganizationQuota bounds each queue of an organization; 0: what is configured
// for all.
type OrganizationQuota struct {
	Bytes        int64 `json:"bytes,omitempty"`         // of what is pending
	Messages     int64 `json:"messages,omitempty"`      // pending
	MessageBytes int64 `json:"message_bytes,omitempty"` // of one body
}

// OrganizationRate bounds what is taken at the door, in requests a second; 0:
// what is configured for all.
type OrganizationRate struct {
	PerSecond       float64 `json:"per_second,omitempty"`
	Burst           int     `json:"burst,omitempty"`
	SenderPerSecond float64 `json:"sender_per_second,omitempty"` // of one sender
	SenderBurst     int     `json:"sender_burst,omitempty"`
}

// MaxWeight bounds the weight of an organization.
const MaxWeight = 1000

// Organizations is the shared state. Writers say which revision they have seen:
// CodeConflict when another was faster.
type Organizations interface {
	Organizations(ctx context.Context) ([]Organization, error)
	// Organization is one of them and its revision; CodeNotFound.
	Organization(ctx context.Context, name string) (Organization, uint64, error)
	// PutOrganization stores one; revision 0 makes a new one, with its queues.
	PutOrganization(ctx context.Context, o Organization, revision uint64) (uint64, error)
}
