package harness

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Link is a way to an address that can be cut: what goes over it is TCP of
// whatever kind.
type Link struct {
	listener net.Listener
	to       string

	mu     sync.Mutex
	cut    bool
	frozen bool
	conns  map[net.Conn]bool
	wg     sync.WaitGroup
}

// NewLink leads to an address; it ends with the test.
func NewLink(t testing.TB, to string) *Link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	k := &Link{listener: l, to: to, conns: map[net.Conn]bool{}}
	k.wg.Go(k.accept)
	t.Cleanup(func() {
		_ = l.Close() // its end is what accept waits for
		k.Cut()
		k.wg.Wait()
	})
	return k
}

// Address is where the link begins.
func (k *Link) Address() string { return k.listener.Addr().String() }

// Cut ends every connection, and each one that is made until Mend.
func (k *Link) Cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut = true
	for c := range k.conns {
		_ = c.Close() // that is what it is for
	}
}

// Freeze swallows what is sent, as a firewall does that has forgotten a connection:
// nobody is told. What was connected then stays dead when the link is mended.
func (k *Link) Freeze() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frozen = true
}

// Mend lets connections through again.
func (k *Link) Mend() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut, k.frozen = false, false
}

func (k *Link) isFrozen() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.frozen
}

// way is one direction of a connection.
type way struct {
	k    *Link
	to   net.Conn
	dead *atomic.Bool
}

func (w way) Write(b []byte) (int, error) {
	if w.dead.Load() || w.k.isFrozen() {
		w.dead.Store(true)
		return len(b), nil
	}
	return w.to.Write(b)
}

func (k *Link) accept() {
	for {
		c, err := k.listener.Accept()
		if err != nil {
			return
		}
		k.wg.Go(func() { k.carry(c) })
	}
}

// carry copies both ways until one side ends.
func (k *Link) carry(near net.Conn) {
	far, err := net.Dial("tcp", k.to)
	if err != nil {
		_ = near.Close() // nobody is there, as without the link
		return
	}
	if !k.keep(near, far) {
		return
	}
	var ways sync.WaitGroup
	var dead atomic.Bool
	for _, ends := range [][2]net.Conn{{near, far}, {far, near}} {
		ways.Go(func() {
			_, _ = io.Copy(way{k, ends[0], &dead}, ends[1]) // an end, however it comes
			if !dead.Load() {
				_, _ = ends[0].Close(), ends[1].Close()
			}
		})
	}
	ways.Wait()
	_, _ = near.Close(), far.Close()
	k.forget(near, far)
}

func (k *Link) keep(conns ...net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range conns {
		if k.cut {
			_ = c.Close()
			continue
		}
		k.conns[c] = true
	}
	return !k.cut
}

func (k *Link) forget(conns ...net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range conns {
		delete(k.conns, c)
	}
}
