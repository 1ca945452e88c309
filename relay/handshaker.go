package relay

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// HandshakerOptions make a Handshaker.
type HandshakerOptions struct {
	Store Handshakes
	// CheckMore says what is wrong by the rules of the configuration.
	CheckMore func(Handshake) []Violation
	// Configured are the members of a document of which the configuration says
	// something, as JSON pointers: it has the last word.
	Configured []string
	FarDrain   bool // who delivers to Foreman has a configuration of its own
	Delivers   bool // destinations of the document with a URL are delivered to from here
	Now        Clock
}

// Handshaker takes the documents of Foreman, one at a time: all of a document is
// held against the rules, then it is stored, then what it says of organizations
// is done. What a crash leaves undone is done by Resume.
type Handshaker struct {
	HandshakerOptions

	busy    sync.Mutex
	started Handshake // what the process was started with
	sealed  atomic.Pointer[map[Queue]string]
}

// NewHandshaker makes one; Start and Resume come first.
func NewHandshaker(o HandshakerOptions) *Handshaker { return &Handshaker{HandshakerOptions: o} }

// handshakeTimeout bounds the doing of a document that is stored: its sender may
// be gone.
const handshakeTimeout = 2 * time.Minute

// HandshakeReply says what a document has changed, or would.
type HandshakeReply struct {
	Revision    uint64      `json:"revision"`
	Changed     bool        `json:"changed"`
	DryRun      bool        `json:"dry_run"`
	Differences Differences `json:"differences"`
	// PendingRestart is what takes effect when the edge is started the next time.
	PendingRestart []string `json:"pending_restart"`
	// NotApplied is stored, and not in effect: why, and what to do.
	NotApplied []Violation `json:"not_applied"`
}

// Precondition is what the sender has seen.
type Precondition struct {
	Given    bool
	Any      bool // whatever is there
	Revision uint64
}

// Start reads the document that this process starts with.
func (h *Handshaker) Start(ctx context.Context) (Handshake, error) {
	h.busy.Lock()
	defer h.busy.Unlock()
	record, _, err := h.Store.Handshake(ctx)
	h.started = record.Document
	h.count(record.Document)
	return record.Document, err
}

// count has the credentials of a document that is stored go with what is accepted
// from now on.
func (h *Handshaker) count(document Handshake) {
	sealed := document.sealed()
	h.sealed.Store(&sealed)
}

// Credential is what the document has sealed for a queue, as a message carries it
// (Message.Attach); empty: nothing.
func (h *Handshaker) Credential(q Queue) string {
	if sealed := h.sealed.Load(); sealed != nil {
		return (*sealed)[q]
	}
	return ""
}

// Resume does what an earlier process has left undone.
func (h *Handshaker) Resume(ctx context.Context) error {
	h.busy.Lock()
	defer h.busy.Unlock()
	record, revision, err := h.Store.Handshake(ctx)
	if err != nil {
		return err
	}
	return h.carryOut(ctx, record, revision)
}

// Show is the document that counts.
func (h *Handshaker) Show(ctx context.Context) (HandshakeRecord, error) {
	record, _, err := h.Store.Handshake(ctx)
	record.Document = record.Document.Shown()
	return record, err
}

// Take replaces the document. The same one changes nothing, whatever its sender
// has seen. CodeInvalid, with all that is wrong; CodeConflict when another was
// faster; after CodeUnavailable the document may be stored, and sending it again
// is safe.
func (h *Handshaker) Take(ctx context.Context, next Handshake, p Precondition, dryRun bool) (HandshakeReply, error) {
	h.busy.Lock()
	defer h.busy.Unlock()
	record, revision, err := h.Store.Handshake(ctx)
	if err != nil {
		return HandshakeReply{}, err
	}
	if err := h.check(ctx, next); err != nil {
		return HandshakeReply{}, err
	}
	reply, err := h.reply(ctx, record, next)
	if err != nil {
		return reply, err
	}
	if reply.Changed {
		if err := p.refuse(record.Revision); err != nil {
			return reply, err
		}
	}
	if reply.DryRun = dryRun; dryRun {
		return reply, nil
	}
	if reply.Changed {
		record.Pending = union(record.Pending, record.Document.changedOrganizations(next))
		record.Revision, record.Document = record.Revision+1, next
		if revision, err = h.Store.PutHandshake(ctx, record, revision); err != nil {
			return reply, err
		}
		reply.Revision = record.Revision
	}
	h.count(record.Document)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handshakeTimeout)
	defer cancel()
	return reply, h.carryOut(ctx, record, revision)
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// refuse says why a document may not replace the one of this revision.
func (p Precondition) refuse(current uint64) error {
	switch {
	case p.Any, p.Given && p.Revision == current, !p.Given && current == 0:
		return nil
	case !p.Given:
		return Refuse(CodeConflict, "there is a document already, of revision %d: say which one this replaces with If-Match: \"%d\"; nothing was changed", current, current)
	default:
		return Refuse(CodeConflict, "the document was changed meanwhile: the revision is %d, not %d; read it again; nothing was changed", current, p.Revision)
	}
}

// check holds a document against all rules, before anything of it is stored.
func (h *Handshaker) check(ctx context.Context, next Handshake) error {
	found := append(next.Check(), h.CheckMore(next)...)
	have, err := h.Store.Organizations(ctx)
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, o := range have {
		names[o.Name] = true
	}
	for name := range next.Organizations {
		names[name] = true
	}
	if len(names) > MaxHandshakeOrganizations {
		found = append(found, Violation{Pointer: "/organizations", Message: "with these there would be more than 1000 organizations"})
	}
	if n := len(names) * (1 + len(next.Destinations)); n > MaxHandshakeQueues {
		found = append(found, Violation{Pointer: "/destinations", Message: fmt.Sprintf("each organization has a queue for Foreman and for each destination: these would be %d, more than %d", n, MaxHandshakeQueues)})
	}
	if len(found) == 0 {
		return nil
	}
	refused := Refuse(CodeInvalid, "the document cannot be taken: %s: %s; nothing was changed", found[0].Pointer, found[0].Message)
	refused.Violations = found[:min(len(found), maxHandshakeViolations)]
	return refused
}

// maxHandshakeViolations bounds what one refused document is told.
const maxHandshakeViolations = 50

func (h *Handshaker) reply(ctx context.Context, record HandshakeRecord, next Handshake) (reply HandshakeReply, err error) {
	if reply.Differences, err = record.Document.Differences(next); err != nil {
		return reply, err
	}
	since, err := h.started.Differences(next)
	if err != nil {
		return reply, err
	}
	reply.Revision = record.Revision
	reply.Changed = record.Revision == 0 || !reply.Differences.None()
	reply.PendingRestart = []string{}
	for _, pointer := range append(since.Below("destinations"), since.Below("routes")...) {
		if !h.configured(pointer) {
			reply.PendingRestart = append(reply.PendingRestart, pointer)
		}
	}
	reply.NotApplied, err = h.notApplied(ctx, next)
	return reply, err
}

func (h *Handshaker) configured(pointer string) bool {
	return slices.ContainsFunc(h.Configured, func(at string) bool {
		return pointer == at || strings.HasPrefix(pointer, at+"/")
	})
}

// notApplied is what the document says and the relay does not do.
func (h *Handshaker) notApplied(ctx context.Context, next Handshake) ([]Violation, error) {
	all := []Violation{}
	say := func(message string, tokens ...string) {
		all = append(all, Violation{Pointer: JSONPointer(tokens...), Message: message})
	}
	have, err := h.Store.Organizations(ctx)
	if err != nil {
		return nil, err
	}
	for _, o := range have {
		if wanted := next.Organizations[o.Name].Enabled; wanted != nil && *wanted && o.offByOperator() {
			say("an operator of the relay has switched it off, and only an operator switches it on again", "organizations", o.Name, "enabled")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(next.Destinations)) {
		switch {
		case h.configured(JSONPointer("destinations", name)):
			say("the configuration of the relay says something of this destination, and has the last word", "destinations", name)
		case !h.Delivers && next.Destinations[name].URL != "":
			say("this edge delivers nothing itself: where messages go is said by the configuration of the drain of this destination", "destinations", name, "url")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(next.Routes)) {
		switch {
		case h.configured(JSONPointer("routes", name)):
			say("the configuration of the relay says something of this route, and has the last word", "routes", name)
		case h.FarDrain:
			say("it is in effect at the edge alone, after a restart; a far drain retries as its own configuration says", "routes", name)
		}
	}
	for _, c := range next.Credentials {
		if _, ok := next.Destinations[c.Destination]; !ok && c.Destination != ForemanDestination && !h.configured(JSONPointer("destinations", c.Destination)) {
			say("neither the document nor the configuration has this destination", "credentials", c.Organization, c.Destination)
		}
	}
	return all, nil
}

func (o Organization) offByOperator() bool { return !o.Enabled && o.ChangedBy == ChangedByOperator }

// carryOut makes the organizations as the document has them, and notes that.
func (h *Handshaker) carryOut(ctx context.Context, record HandshakeRecord, revision uint64) error {
	if len(record.Pending) == 0 {
		return nil
	}
	for _, name := range record.Pending {
		if err := h.settle(ctx, name, record.Document); err != nil {
			return &Error{Code: CodeUnavailable, RetryAfter: 5 * time.Second, Err: err,
				Detail: "the document is stored, but not all of it is in effect yet: send it again, or start the relay anew"}
		}
	}
	record.Pending = nil
	_, err := h.Store.PutHandshake(ctx, record, revision)
	return err
}

// settle makes one organization as the document has it. Somebody who is faster is
// looked at again.
func (h *Handshaker) settle(ctx context.Context, name string, document Handshake) (err error) {
	const tries = 5
	for range tries {
		have, revision, err := h.Store.Organization(ctx, name)
		known := err == nil
		if err != nil && CodeOf(err) != CodeNotFound {
			return err
		}
		next, wanted := document.organization(name, have, known, h.Now())
		if !wanted {
			return nil
		}
		if _, err = h.Store.PutOrganization(ctx, next, revision); err == nil || CodeOf(err) != CodeConflict {
			return err
		}
	}
	return Refuse(CodeUnavailable, "organization %q is changed by others again and again", name)
}

// organization is one as the document has it; not wanted: nothing is to be stored.
func (h Handshake) organization(name string, o Organization, known bool, now time.Time) (next Organization, wanted bool) {
	w, named := h.Organizations[name]
	off := false
	switch {
	case !named && (!known || !o.Enabled || name == DefaultOrganization):
		return o, false
	case !named:
		return o.turned(&off, "it is no longer in the handshake of Foreman", now), true
	case !known:
		o = Organization{Name: name, Enabled: true, ChangedBy: ChangedByHandshake, Changed: now}
	}
	if w.ForemanID != 0 {
		o.ForemanID = w.ForemanID
	}
	o.Rules, o.Quota, o.Rate, o.Weight, o.Sealed = slices.Clone(w.Rules), w.Quota, w.Rate, w.Weight, w.Sealed
	for i := range o.Rules {
		o.Rules[i].Organization = name // a rule leads to its own organization, never to another
	}
	if o.offByOperator() {
		return o, true
	}
	return o.turned(w.Enabled, w.Why, now), true
}

// turned is an organization that the handshake switches; nil: it does not.
func (o Organization) turned(enabled *bool, why string, now time.Time) Organization {
	if enabled == nil || *enabled == o.Enabled && (*enabled || o.Why == why) {
		return o
	}
	o.Enabled, o.Why, o.ChangedBy, o.Changed = *enabled, "", ChangedByHandshake, now
	if !o.Enabled {
		o.Why = why
		if why == "" {
			o.Why = "Foreman's handshake has switched it off"
		}
	}
	return o
}
