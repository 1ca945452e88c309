package handlers

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/theforeman/foreman-relay/relay"
)

// homes remembers to which organization a host belongs: what the operator has
// said, and what the certificates of hosts have shown that spoke for themselves.
// The first organization counts: a second CA that issues the same name gets
// nowhere. What was learnt is of this process alone, has a bound, and ends with
// it; the longest unused goes first.
type homes struct {
	fixed map[string]string

	mu     sync.Mutex
	learnt *simplelru.LRU[string, string]
}

// DefaultRemember is how many hosts are remembered; a hundred bytes each.
const DefaultRemember = 100_000

func newHomes(fixed map[string]string, remember int) *homes {
	h := &homes{fixed: map[string]string{}}
	for host, organization := range fixed {
		if name, ok := relay.HostName(host); ok {
			h.fixed[name] = organization
		}
	}
	if remember > 0 {
		h.learnt, _ = simplelru.NewLRU[string, string](remember, nil) // it fails for no entries only
	}
	return h
}

// of is the organization of a host.
func (h *homes) of(host string) (string, bool) {
	name, ok := relay.HostName(host)
	if !ok {
		return "", false
	}
	if organization, known := h.fixed[name]; known {
		return organization, true
	}
	if h.learnt == nil {
		return "", false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.learnt.Get(name)
}

// learn remembers a host that is not known yet.
func (h *homes) learn(name, organization string) {
	if _, fixed := h.fixed[name]; fixed || h.learnt == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.learnt.Get(name); !known {
		h.learnt.Add(name, organization)
	}
}
