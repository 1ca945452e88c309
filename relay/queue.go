package relay

import (
	"fmt"
	"strings"
)

// DefaultOrganization and ForemanDestination name the one queue that always
// exists.
const (
	DefaultOrganization = "default"
	ForemanDestination  = "foreman"
)

// Queue names a queue: the messages of one organization for one destination.
type Queue struct {
	Organization string `json:"organization"`
	Destination  string `json:"destination"`
}

// String is "organization/destination", as operators write it. An organization
// may contain slashes (Foreman's titles do), a destination never does.
func (q Queue) String() string { return q.Organization + "/" + q.Destination }

// ParseQueue reads "organization/destination"; the last slash divides.
func ParseQueue(s string) (Queue, error) {
	i := strings.LastIndexByte(s, '/')
	if i <= 0 || i == len(s)-1 {
		return Queue{}, fmt.Errorf("%q is not a queue: write ORGANIZATION/DESTINATION, for example default/foreman", s)
	}
	return Queue{Organization: s[:i], Destination: s[i+1:]}, nil
}
