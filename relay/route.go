package relay

import (
	"net/url"
	"strings"
)

// Route says which requests are taken and what becomes of them. Routes are
// data: handlers reads them, nothing else knows a client's peculiarities. A
// route of two methods is listed twice under one name.
type Route struct {
	Name        string   // [a-z0-9]{1,16}; the last token of the subject
	Method      string   // of the request that is taken
	Paths       []string // echo patterns
	Destination string

	// Target is the path at the destination, a pattern as in Paths; empty: the
	// path that was asked.
	Target string
	// ClientParam is the parameter of Target that the common name of the
	// client's certificate fills; a client without one is refused.
	ClientParam string
	// DateParam is the parameter of Target that the time of acceptance fills, in
	// Unix seconds, and never with one second twice for one ClientParam.
	DateParam string

	Keep          []string // request headers that travel; a * at the end stands for any rest
	ClientAddress bool     // the sender's address travels as X-Forwarded-For

	Schema       string   // name in package schemas; empty: any body
	ContentTypes []string // media types taken; empty: any
	Magic        string   // what the body must begin with
	MaxBody      int64    // bytes, after decoding
	DecodeGzip   bool     // store identity: Foreman reads nothing else

	// Hosts find the hosts that a request speaks for: its sender must be allowed
	// to speak for each. Where none is found, for any host at all.
	Hosts []Source
	// Anonymous: taken of a caller without a certificate too (a machine that is
	// being installed has none), and Foreman finds out whose it is.
	Anonymous bool

	Lane LaneRule
	Key  KeyRule
	Kind []Source // of a latest route: Message.Kind, the first that there is; none: all of a lane are alike

	Reply  Reply
	Policy Policy
	Urgent bool // before the bulk of its queue, unless the sender says otherwise

	// Stream: neither lane nor key nor anything else depends on the body, so that a
	// large one is stored while it comes.
	Stream bool
}

// LaneRule finds the ordering key: the first of From that gives one.
type LaneRule struct {
	From []Source
	// Missing is what a sender is told when none does; empty: the message has a
	// lane of its own.
	Missing string
}

// KeyRule derives an idempotency key from a request whose sender gives none:
// Type and all of From. No From, or one that gives nothing: no derived key.
type KeyRule struct {
	Type string
	From []Source
}

// Reply is what the client of a route needs to be told (contract, section 0).
type Reply struct {
	Status int
	Body   ReplyBody
}

// ReplyBody is the kind of the answer's body.
type ReplyBody string

// The bodies that clients look for; the ids in them come from the message's, so
// that a repeated request gets the same.
const (
	ReplyReceipt    ReplyBody = ""           // for clients that read none
	ReplyTaskID     ReplyBody = "task"       // {"task_id": a UUID}
	ReplyProcessing ReplyBody = "processing" // {"message":"processing"}
	ReplyReportID   ReplyBody = "report"     // {"result":"ok","id": digits in a string}
)

// Extract is the lane of a request: lower-cased, because Foreman's host names
// are, and without outer spaces. Empty when there is none.
func (r LaneRule) Extract(q Request) string {
	for _, from := range r.From {
		if s, ok := from.Find(q); ok {
			if s = strings.ToLower(strings.TrimSpace(s)); s != "" {
				return s
			}
		}
	}
	return ""
}

// HostsOf are the hosts that a request speaks for.
func (r Route) HostsOf(q Request) []string {
	var hosts []string
	for _, from := range r.Hosts {
		hosts = append(hosts, from.all(q)...)
	}
	return hosts
}

// Derive is the key of a request, and whether the route derives one from it.
func (r KeyRule) Derive(q Request) (string, bool) {
	if len(r.From) == 0 {
		return "", false
	}
	parts := make([]string, 0, len(r.From)+1)
	parts = append(parts, r.Type)
	for _, from := range r.From {
		s, ok := from.Find(q)
		if !ok {
			return "", false
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "\x1f"), true
}

// Plain says whether a body is all that the route needs of a request: it can be
// used by name, without the client's own path, query, headers and certificate.
func (r Route) Plain() bool {
	return r.Target == "" && !strings.Contains(r.Paths[0], ":") && !r.ClientAddress
}

// GenericRoute is the name under which messages of the queue endpoint are kept:
// a route of every destination.
const GenericRoute = "message"

// Keeps says whether a request header of this name travels; a * at the end of a
// pattern of Keep stands for any rest.
func (r Route) Keeps(name string) bool {
	for _, pattern := range r.Keep {
		prefix, open := strings.CutSuffix(pattern, "*")
		if name == pattern || open && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// Match reads the parameters of a path at the destination; false when the route
// delivers to no such path.
func (r Route) Match(path string) (map[string]string, bool) {
	patterns := r.Paths
	if r.Target != "" {
		patterns = []string{r.Target}
	}
	path, _, _ = strings.Cut(path, "?")
	for _, pattern := range patterns {
		if params, ok := match(pattern, path); ok {
			return params, true
		}
	}
	return nil, false
}

func match(pattern, path string) (map[string]string, bool) {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return nil, false
	}
	params := map[string]string{}
	for i, part := range want {
		value, err := url.PathUnescape(got[i])
		name, isParam := strings.CutPrefix(part, ":")
		switch {
		case err != nil, isParam && value == "", !isParam && part != value:
			return nil, false
		case isParam:
			params[name] = value
		}
	}
	return params, true
}

// Fill is the pattern with its parameters, each one part of the path.
func Fill(pattern string, params map[string]string) string {
	parts := strings.Split(pattern, "/")
	for i, part := range parts {
		if name, ok := strings.CutPrefix(part, ":"); ok {
			parts[i] = url.PathEscape(params[name])
		}
	}
	return strings.Join(parts, "/")
}
