package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

const (
	// runTimeout bounds one run of the machine; it takes some 15 s on an idle host.
	runTimeout = 5 * time.Minute
	// longestRun is how long after the first answer the power is cut, at most.
	longestRun = 6 * time.Second
	// flushTime is that of a fast magnetic disk.
	flushTime = 5 * time.Millisecond
)

// series is one disk on which the relay runs in one mode while the power is cut
// again and again. Each run looks first for all that was answered before.
type series struct {
	lab    *lab
	mode   string
	chance *rand.Rand
	disk   *Disk
	round  int
	acked  []stored
	sent   map[string]bool
}

// run cuts the power so often, and tells each cut together with what the run
// after it found. An error means that the test could not be made.
func (s *series) run(ctx context.Context, cuts int, tell func(number int, cut, after *visit)) error {
	if err := s.format(); err != nil {
		return err
	}
	defer func() { _ = s.disk.Close() }() // a temporary file
	var last *visit
	for done := 0; ; done++ {
		v, err := s.visit(ctx, done < cuts)
		if err != nil {
			return fmt.Errorf("run %d in mode %s: %w", s.round, s.mode, err)
		}
		if last != nil {
			tell(done, last, v)
		}
		if v.failed != "" {
			// Nothing starts on this disk any more: that is the finding. But a
			// new disk, or one that was found in order, must do.
			if last == nil || v.looked {
				return fmt.Errorf("run %d in mode %s: %s", s.round, s.mode, v.failed)
			}
			if err := errors.Join(s.disk.Close(), s.format()); err != nil {
				return err
			}
			if v = nil; done < cuts {
				done--
			}
		}
		if done >= cuts {
			return nil
		}
		s.remember(v)
		last = v
	}
}

// remember takes over what the next run has to find.
func (s *series) remember(v *visit) {
	if v == nil {
		s.acked, s.sent = nil, nil
		return
	}
	if s.sent == nil {
		s.sent = map[string]bool{}
	}
	for _, digest := range v.sent {
		s.sent[digest] = true
	}
	s.acked = slices.DeleteFunc(s.acked, func(a stored) bool {
		return slices.ContainsFunc(v.lost, func(n note) bool { return n.Stored.ID == a.ID })
	})
	s.acked = append(s.acked, v.acked...)
}

func (s *series) format() error {
	path := filepath.Join(s.lab.dir, s.mode+".img")
	if err := s.lab.format(path); err != nil {
		return err
	}
	var err error
	if s.disk, err = OpenDisk(path); err != nil {
		return err
	}
	s.disk.FlushTime = flushTime
	return nil
}

// visit is one run of the machine, and its power cut.
func (s *series) visit(ctx context.Context, load bool) (*visit, error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	s.round++
	delay, keep := time.Duration(s.chance.Int64N(int64(longestRun))), s.share()
	m, err := s.lab.boot(ctx, s.disk, job{Round: s.round, Mode: s.mode, Acked: s.acked, Load: load, Delivered: s.sent})
	if err != nil {
		return nil, err
	}
	v := &visit{states: map[relay.State]int{}}
	if err := v.watch(ctx, m, load, delay); err != nil {
		return nil, err
	}
	if !v.looked && v.failed == "" {
		v.failed = "the machine ended by itself"
	}
	v.unflushed, v.kept, err = s.disk.Cut(s.chance, keep)
	return v, err
}

// share is how much of its cache the disk keeps in a cut: now and then nothing.
func (s *series) share() float64 {
	if s.chance.IntN(4) == 0 {
		return 0
	}
	return s.chance.Float64()
}
