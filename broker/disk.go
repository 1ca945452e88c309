package broker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
)

// disk guards the space that JetStream needs: on a full disk it stops answering
// until it is started again (facts, 0.7). Below the reserve nothing new is
// accepted, while draining goes on.
type disk struct {
	dir     string
	reserve int64
	low     atomic.Bool
	log     zerolog.Logger
}

func newDisk(dir string, reserve int64, log zerolog.Logger) *disk {
	d := &disk{dir: dir, reserve: reserve, log: log}
	d.look()
	return d
}

func (d *disk) watch(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			d.look()
		case <-ctx.Done():
			return
		}
	}
}

func (d *disk) look() {
	free, total, err := DiskFree(d.dir)
	if err != nil {
		d.log.Warn().Err(err).Msg("cannot see how full the disk is")
		return
	}
	reserve := d.reserve
	if reserve == 0 {
		reserve = Reserve(total)
	}
	low := free < reserve
	if low != d.low.Swap(low) {
		d.log.Warn().Int64("free_bytes", free).Int64("reserve_bytes", reserve).Bool("accepting", !low).Msg("disk space")
	}
}

func (d *disk) admit() error {
	if d.low.Load() {
		return &relay.Error{Code: relay.CodeStorageFull, RetryAfter: fullRetryAfter,
			Detail: "the relay's disk is nearly full; nothing new is accepted until there is space"}
	}
	return nil
}
