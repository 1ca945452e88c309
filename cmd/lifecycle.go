package cmd

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

// stack stops what was started, last in first out, each step under its name.
// A step that outlasts its time is left behind: the end of the process ends it.
type stack struct {
	log   zerolog.Logger
	most  time.Duration // bound of every step; 0: each has its own
	steps []step
	once  sync.Once
}

// hurried is the bound of every step once nothing can be kept any more.
const hurried = time.Second

// leave is how long after its time a step that heeds its context may need.
const leave = 2 * time.Second

type step struct {
	name string
	stop func(ctx context.Context)
	most time.Duration // how long the step may take; it is told so by its context
}

func (s *stack) push(name string, most time.Duration, stop func(ctx context.Context)) {
	s.steps = append(s.steps, step{name, stop, most})
}

// stop runs the steps; idempotent.
func (s *stack) stop() {
	s.once.Do(func() {
		for i := len(s.steps) - 1; i >= 0; i-- {
			s.run(s.steps[i])
		}
	})
}

func (s *stack) run(st step) {
	most, start := st.most, time.Now()
	if s.most > 0 {
		most = min(most, s.most)
	}
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		st.stop(ctx)
	}()
	t := time.NewTimer(most + leave)
	defer t.Stop()
	select {
	case <-done:
		s.log.Debug().Str("step", st.name).Dur("took", time.Since(start)).Msg("stopped")
	case <-t.C:
		s.log.Warn().Str("step", st.name).Dur("waited", time.Since(start)).Msg("not stopped in time; going on without it")
	}
}

// untilSignal ends its context at SIGINT or SIGTERM; a second signal ends the
// process at once, as the system would.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
