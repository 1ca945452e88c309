package relay

import (
	"cmp"
	"slices"
	"time"
)

// Limits of the grouping of letters by cause.
const (
	DefaultCauses = 20
	MaxCauses     = 1000 // groups held at one time; the rarest give way
)

// CauseReport is dead letters by cause, the most frequent first.
type CauseReport struct {
	Letters uint64  `json:"letters"` // all that the filter chose
	Causes  []Cause `json:"causes"`
	// Other counts the letters that are in none of the causes listed.
	Other uint64 `json:"other"`
}

// Cause is a group of letters that died of the same: route, reason, status, and
// the error's text without what differs from one message to the next.
type Cause struct {
	Count   uint64    `json:"count"` // at least, where there are more than MaxCauses
	Route   string    `json:"route"`
	Reason  string    `json:"reason"`
	Status  int       `json:"status,omitempty"`
	Text    string    `json:"text,omitempty"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Example string    `json:"example"` // id of the letter that died last
}

// causeKey is what the letters of a cause share.
type causeKey struct {
	route, reason string
	status        int
	text          string
}

// Causes groups letters as they come, within a bounded memory.
type Causes struct {
	letters uint64
	groups  map[causeKey]*Cause
}

// Add counts a letter.
func (c *Causes) Add(l DeadLetter) {
	c.letters++
	key := causeKey{l.Route, l.Reason, l.Status, Normalize(l.Detail, l.Lane)}
	g := c.groups[key]
	if g == nil {
		c.makeRoom()
		g = &Cause{Route: l.Route, Reason: l.Reason, Status: l.Status, Text: key.text, First: l.DiedAt, Last: l.DiedAt, Example: l.ID}
		c.groups[key] = g
	}
	g.Count++
	if l.DiedAt.Before(g.First) {
		g.First = l.DiedAt
	}
	if !l.DiedAt.Before(g.Last) {
		g.Last, g.Example = l.DiedAt, l.ID
	}
}

// makeRoom gives up the rarer half of too many groups: a cause that is frequent
// is there in the end, whenever it began.
func (c *Causes) makeRoom() {
	if c.groups == nil {
		c.groups = map[causeKey]*Cause{}
	}
	if len(c.groups) < MaxCauses {
		return
	}
	kept := c.sorted()[:MaxCauses/2]
	clear(c.groups)
	for _, g := range kept {
		c.groups[causeKey{g.Route, g.Reason, g.Status, g.Text}] = g
	}
}

func (c *Causes) sorted() []*Cause {
	all := make([]*Cause, 0, len(c.groups))
	for _, g := range c.groups {
		all = append(all, g)
	}
	slices.SortFunc(all, func(x, y *Cause) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), y.Last.Compare(x.Last), cmp.Compare(x.Example, y.Example))
	})
	return all
}

// Report lists the causes, at most so many; 0 means DefaultCauses.
func (c *Causes) Report(limit int) CauseReport {
	if limit == 0 {
		limit = DefaultCauses
	}
	r := CauseReport{Letters: c.letters, Causes: []Cause{}, Other: c.letters}
	for _, g := range c.sorted() {
		if len(r.Causes) == limit {
			break
		}
		r.Causes = append(r.Causes, *g)
		r.Other -= g.Count
	}
	return r
}
