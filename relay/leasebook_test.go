package relay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLeaseDecide(t *testing.T) {
	now := time.Unix(1e9, 0)
	const longest = 60 * time.Second
	held := Lease{Epoch: 4, Instance: "one", Session: "s1", Longest: longest, Begins: now.Add(-time.Hour), Renewed: now.Add(-time.Second)}
	with := func(change func(*Lease)) Lease {
		l := held
		change(&l)
		return l
	}
	for name, c := range map[string]struct {
		lease   Lease
		request LeaseRequest
		granted bool
		epoch   uint64
		wait    time.Duration
		store   bool
	}{
		"nobody held it": {Lease{}, LeaseRequest{Instance: "one", Session: "s1"}, true, 1, 0, true},
		"renewed":        {held, LeaseRequest{Instance: "one", Session: "s1"}, true, 4, 0, false},
		"renewed while its own wait lasts": {with(func(l *Lease) { l.Begins = now.Add(5 * time.Second) }),
			LeaseRequest{Instance: "one", Session: "s1"}, true, 4, 5 * time.Second, false},
		"renewed after it ran out, nobody took it": {with(func(l *Lease) { l.Renewed = now.Add(-time.Hour) }),
			LeaseRequest{Instance: "one", Session: "s1"}, true, 4, 0, false},
		"released":            {held, LeaseRequest{Instance: "one", Session: "s1", Release: true}, false, 4, 0, true},
		"released by another": {held, LeaseRequest{Instance: "two", Session: "s2", Release: true}, false, 4, 0, false},
		"the same instance again: its lock proves that the old session is gone": {held,
			LeaseRequest{Instance: "one", Session: "s2"}, true, 5, 0, true},
		"the same instance again, which was waiting for another": {with(func(l *Lease) { l.Begins = now.Add(7 * time.Second) }),
			LeaseRequest{Instance: "one", Session: "s2"}, true, 5, 7 * time.Second, true},
		"another while it is held": {held, LeaseRequest{Instance: "two", Session: "s2"}, false, 4, LeaseTTL - time.Second, false},
		"another just after the end: the longest attempt has to be waited out": {
			with(func(l *Lease) { l.Renewed = now.Add(-LeaseTTL) }), LeaseRequest{Instance: "two", Session: "s2"}, true, 5, longest, true},
		"another long after the end": {with(func(l *Lease) { l.Renewed = now.Add(-LeaseTTL - longest) }),
			LeaseRequest{Instance: "two", Session: "s2"}, true, 5, 0, true},
		"another after a release": {with(func(l *Lease) { l.Released = true }), LeaseRequest{Instance: "two", Session: "s2"}, true, 5, 0, true},
		"another after a release by one that had to wait": {with(func(l *Lease) { l.Released, l.Begins = true, now.Add(9*time.Second) }),
			LeaseRequest{Instance: "two", Session: "s2"}, true, 5, 9 * time.Second, true},
		"the holder of a lease that ran out, after it released": {with(func(l *Lease) { l.Released = true }),
			LeaseRequest{Instance: "one", Session: "s1"}, true, 5, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			next, granted, wait, store := c.lease.Decide(c.request, now)
			require.Equal(t, []any{c.granted, c.epoch, c.wait, c.store}, []any{granted, next.Epoch, wait, store})
			if granted {
				require.Equal(t, c.request.Session, next.Session)
				require.True(t, next.Held(now))
			}
		})
	}
}
