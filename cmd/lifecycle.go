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
type stack struct {
	log   zerolog.Logger
	steps []step
	once  sync.Once
}

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
			st, start := s.steps[i], time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), st.most)
			st.stop(ctx)
			cancel()
			s.log.Debug().Str("step", st.name).Dur("took", time.Since(start)).Msg("stopped")
		}
	})
}

// untilSignal ends its context at SIGINT or SIGTERM; a second signal ends the
// process at once, as the system would.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
