package broker

import (
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
)

// disk guards the space that JetStream needs: on a full disk it stops answering
// until it is started again (facts, 0.7; revive.go). Below the reserve nothing
// new is accepted, while draining goes on.
//
// It looks every diskInterval, and once more whenever what was accepted since
// could have used up a quarter of what is left above the reserve; and what is
// under way counts as if it were written. So the relay cannot outrun its own
// guard, however fast it stores.
type disk struct {
	dir     string
	reserve int64
	log     zerolog.Logger

	free     atomic.Int64 // bytes, at the last look
	kept     atomic.Int64 // bytes, the reserve at the last look
	low      atomic.Bool
	readOnly atomic.Bool
	blind    atomic.Bool  // the last look failed, and that was told
	until    atomic.Int64 // bytes that may be accepted before the next look
	underWay atomic.Int64 // bytes of the requests that are being stored
}

const (
	diskInterval = 100 * time.Millisecond

	// messageCost is what a message takes on the disk beside its body, in bytes:
	// envelope, subject, record header, its events.
	messageCost = 2 << 10

	// inodeReserve is how many files may still be made at least: a new block of a
	// stream is one. Less on a filesystem that has few.
	inodeReserve = 256
)

func newDisk(dir string, reserve int64, log zerolog.Logger) *disk {
	d := &disk{dir: dir, reserve: reserve, log: log}
	d.look()
	return d
}

// look takes notice of how full the disk is.
func (d *disk) look() {
	s, err := DiskSpace(d.dir)
	if err != nil {
		if !d.blind.Swap(true) {
			d.log.Warn().Err(err).Msg("cannot see how full the disk is")
		}
		return
	}
	d.blind.Store(false)
	reserve := d.reserve
	switch {
	case reserve == 0:
		reserve = Reserve(s.Total)
	case reserve < 0:
		reserve = 0
	}
	low := s.Free < reserve || d.reserve >= 0 && s.Files > 0 && s.FilesFree < min(inodeReserve, s.Files/20)
	d.free.Store(s.Free)
	d.kept.Store(reserve)
	d.readOnly.Store(s.ReadOnly)
	d.until.Store(max(0, s.Free-reserve) / 4)
	if low != d.low.Swap(low) {
		d.log.Warn().Int64("free_bytes", s.Free).Int64("reserve_bytes", reserve).Int64("free_inodes", s.FilesFree).Bool("accepting", !low).Msg("disk space")
	}
}

// admit says whether a body of that size may be stored; done must follow where it
// may.
func (d *disk) admit(size int) error {
	cost := int64(size) + messageCost
	underWay := d.underWay.Add(cost)
	if d.until.Add(-cost) < 0 {
		d.look()
	}
	if d.low.Load() || d.tight(underWay) {
		d.done(size)
		return &relay.Error{Code: relay.CodeStorageFull, RetryAfter: fullRetryAfter,
			Detail: "the relay's disk is nearly full; nothing new is accepted until there is space"}
	}
	return nil
}

// tight says whether what is under way needs the reserve.
func (d *disk) tight(underWay int64) bool {
	return d.reserve >= 0 && !d.blind.Load() && d.free.Load()-underWay < d.kept.Load()
}

func (d *disk) done(size int) { d.underWay.Add(-int64(size) - messageCost) }

// roomy says whether there is space again for a store that has met a full disk.
func (d *disk) roomy() bool {
	d.look()
	return !d.low.Load() && !d.readOnly.Load() && (d.blind.Load() || d.free.Load() >= 4*trialSize)
}
