package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// The watch over the store. JetStream does not come back by itself after a write
// that failed: the stream answers no publish any more, not even with an error,
// until its server is started again (measured on 2.15.2; docs/decisions/0016). So the
// server is started again inside this process as soon as the disk takes writes:
// the state directory stays locked, the edge goes on answering, and connections
// find the new server by themselves.

const (
	// healthInterval is how often the store is looked at when nothing points to
	// trouble. An error in the server's log makes it look at once.
	healthInterval = time.Second

	// curePause is the pause after a start: one that helped may do so for a moment
	// only, where no reserve is kept. After one that did not help it is doubled up
	// to curePauseMost.
	curePause     = time.Second
	curePauseMost = time.Minute

	// trialSize is what must be writable before a start is worth it, in bytes.
	trialSize = 256 << 10
	trialName = "trial"
)

// watch looks after disk and store until ctx ends. It is the only one that waits
// for them, so a disk that hangs holds up nothing else; see timekeeper.
func (b *Broker) watch(ctx context.Context) {
	tick := time.NewTicker(diskInterval)
	defer tick.Stop()
	var next time.Time
	cure := &cure{pause: curePause}
	for {
		trouble := false
		select {
		case <-ctx.Done():
			return
		case <-b.server.troubled:
			trouble = true
		case <-tick.C:
			b.health.looking(b.disk.look)
		}
		now := time.Now()
		switch {
		case b.barrier.Err() != nil:
		case b.health.ails.Load() != nil:
			b.try(ctx, cure, now)
		case trouble || now.After(next):
			next = now.Add(healthInterval)
			b.health.looking(b.examine)
		}
	}
}

// cure is when to start the server next, and how long to wait after that.
type cure struct {
	next  time.Time
	pause time.Duration
}

// tried notes that the server was started, and whether it helped.
func (c *cure) tried(now time.Time, helped bool) {
	if helped {
		c.pause = curePause
	}
	c.next = now.Add(c.pause)
	if !helped {
		c.pause = min(2*c.pause, curePauseMost)
	}
}

// try starts the server anew if the disk takes writes.
func (b *Broker) try(ctx context.Context, c *cure, now time.Time) {
	if now.Before(c.next) || !b.disk.roomy() {
		return
	}
	err := trial(b.options.StateDir)
	if err == nil {
		err = b.revive(ctx)
	}
	if err != nil && ctx.Err() == nil {
		b.log.Error().Err(err).Dur("again_in", c.pause).Msg("the store does not write again yet")
	}
	c.tried(time.Now(), err == nil)
}

// timekeeper says when the disk has been silent for so long that a request would
// wait in vain. It never touches the disk.
func (b *Broker) timekeeper(ctx context.Context) {
	tick := time.NewTicker(b.options.acceptTimeout / 10)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		took := max(b.health.busy(), b.barrier.Busy())
		silent := took > b.options.acceptTimeout
		switch was := b.health.silent.Swap(silent); {
		case silent && !was:
			b.log.Error().Dur("for", took).Msg("the disk of the state directory does not answer; nothing is accepted until it does")
		case was && !silent:
			b.log.Warn().Msg("the disk of the state directory answers again")
		}
	}
}

// examine looks at the store and notes what is wrong with it.
func (b *Broker) examine() {
	err := b.server.healthy()
	kind := diagnose(err)
	if kind == ailsNothing && b.disk.readOnly.Load() {
		kind, err = ailsReadOnly, errors.New("statfs: read-only")
	}
	if kind == ailsReadOnly && b.choice.Effective != ModeOS {
		kind = ailsSick // an error made it so, and what was written last is not on the disk
	}
	b.health.doubt.Store(nil)
	switch kind {
	case ailsNothing:
	case ailsUnwell:
		text := err.Error()
		b.health.doubt.Store(&text)
	case ailsFull, ailsReadOnly:
		b.health.fall(kind, err)
	case ailsSick:
		b.health.fall(kind, err)
		b.barrier.Fail(err)
	}
}

// trial writes a file and takes it away again.
func trial(dir string) error {
	name := filepath.Join(dir, trialName)
	err := os.WriteFile(name, make([]byte, trialSize), 0o600)
	_ = os.Remove(name) // it may not be there; one that stays is overwritten
	return err
}

// revive starts the server anew and puts right what the break may have left.
// Everything is read from the disk again first: where an fsync has failed, the
// page cache holds what the disk does not (Reverify).
func (b *Broker) revive(ctx context.Context) error {
	b.log.Warn().Msg("there is space again; starting the embedded broker anew")
	b.growth.Lock() // who holds it waits for the store no longer, since health has fallen
	defer b.growth.Unlock()
	b.leases.suspend()
	b.server.stop()
	if err := Reverify(b.options.StateDir); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		b.barrier.Fail(err)
		return err
	}
	if err := b.server.start(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := b.reconnected(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{b.openBucket, b.openStreams, b.followAnew, b.beginRun, b.storeOrganizations, b.openAgendas, b.mendTails, b.reaches.anew, b.leases.anew, b.growAnew} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	b.health.rise()
	return nil
}

// reconnected waits until the edge's connection has found the new server.
func (b *Broker) reconnected(ctx context.Context) error {
	for !b.nc.IsConnected() || b.nc.FlushWithContext(ctx) != nil {
		select {
		case <-ctx.Done():
			return fmt.Errorf("connect to the embedded broker again: %w", ctx.Err())
		case <-time.After(inProcessWait):
		}
	}
	return nil
}

// followAnew makes the accounts follow the events again. They must not have seen
// an event that the disk does not have: then everything has to be read again,
// which is what a start of the process does.
func (b *Broker) followAnew(ctx context.Context) error {
	for _, a := range b.accounts {
		last, err := a.lastEvent(ctx)
		if err != nil {
			return err
		}
		if seen := a.position(); last < seen {
			err := fmt.Errorf("the disk has %d events for %s, and %d were seen", last, a.destination, seen)
			b.barrier.Fail(err)
			return err
		}
		a.anew()
		if err := a.await(ctx, last); err != nil {
			return fmt.Errorf("follow the events of %s: %w", a.destination, err)
		}
	}
	return nil
}
