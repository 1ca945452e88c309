package broker

import (
	"maps"
	"sync/atomic"
)

// growing is a map that is read far more often than it grows: a reader takes it
// as it is at one moment and locks nothing. Who adds has the others that add kept
// away.
type growing[K comparable, V any] struct {
	current atomic.Pointer[map[K]V]
}

// all is the map as it is now; nobody may change it.
func (g *growing[K, V]) all() map[K]V {
	if m := g.current.Load(); m != nil {
		return *m
	}
	return nil
}

func (g *growing[K, V]) of(key K) V { return g.all()[key] }

// put adds an entry, or replaces it.
func (g *growing[K, V]) put(key K, value V) {
	next := maps.Clone(g.all())
	if next == nil {
		next = map[K]V{}
	}
	next[key] = value
	g.current.Store(&next)
}
