package broker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
)

// health is what is known of the store: whether it writes, and if not, why. It
// is found out in the background (watch), so that nobody who asks has to wait
// for a disk that does not answer.
type health struct {
	log    zerolog.Logger
	ails   atomic.Pointer[ailment] // nil: it writes
	silent atomic.Bool             // the disk has not answered for so long that waiting is of no use
	doubt  atomic.Pointer[string]  // what the server said last, while it was not well
	began  atomic.Int64            // of the look that is under way, in Unix nanoseconds; 0: none
	cured  atomic.Uint64

	mu   sync.Mutex
	link context.Context // ends when the store stops writing, and is replaced when it writes again
	cut  context.CancelFunc
}

// ailment is why the store does not write.
type ailment struct {
	kind   ailmentKind
	detail string
	cause  error
	since  time.Time
}

type ailmentKind int

const (
	ailsNothing  ailmentKind = iota
	ailsUnwell               // nothing that the relay could do anything about: not ready
	ailsFull                 // cured by a start of the server once there is space
	ailsReadOnly             // the same, once it can be written again, where nothing is promised of the disk
	ailsSick                 // what was written may be lost: the process must end (decision 4)
)

// diagnose reads what Healthz says. JetStream hands on the system's words and no
// error value.
func diagnose(err error) ailmentKind {
	says := func(errno syscall.Errno) bool { return strings.Contains(err.Error(), errno.Error()) }
	switch {
	case err == nil:
		return ailsNothing
	case errors.Is(err, errServerAway) || !strings.Contains(err.Error(), "write error"):
		return ailsUnwell
	case says(syscall.ENOSPC), says(syscall.EDQUOT):
		return ailsFull
	case says(syscall.EROFS):
		return ailsReadOnly
	default:
		return ailsSick
	}
}

func newHealth(log zerolog.Logger) *health {
	h := &health{log: log}
	h.link, h.cut = context.WithCancel(context.Background())
	return h
}

// details say what, and what to do.
var details = map[ailmentKind]string{
	ailsFull: "the disk is full, and the relay's store does not write any more; it goes on by itself when there is space",
	ailsReadOnly: "the filesystem of the state directory is read-only; the relay goes on by itself when it is writable again " +
		"(where the kernel's log names an error: stop the relay, repair the filesystem, start it)",
	ailsSick: "the disk of the state directory has failed; the relay ends",
}

// fall notes that the store writes no more; who waits for it is told at once.
func (h *health) fall(kind ailmentKind, cause error) {
	a := &ailment{kind: kind, cause: cause, since: time.Now(), detail: details[kind]}
	if !h.ails.CompareAndSwap(nil, a) {
		return
	}
	h.log.Error().Err(cause).Msg(a.detail)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cut()
}

// rise notes that the store writes again.
func (h *health) rise() {
	h.mu.Lock()
	h.link, h.cut = context.WithCancel(context.Background())
	h.mu.Unlock()
	a := h.ails.Swap(nil)
	h.cured.Add(1)
	h.log.Warn().Dur("after", time.Since(a.since)).Msg("the store writes again")
}

// admit says whether anything can be stored at this moment.
func (h *health) admit() error {
	a := h.ails.Load()
	switch {
	case a != nil && a.kind == ailsFull:
		return &relay.Error{Code: relay.CodeStorageFull, RetryAfter: fullRetryAfter, Detail: a.detail, Err: a.cause}
	case a != nil:
		return &relay.Error{Code: relay.CodeUnavailable, RetryAfter: fullRetryAfter, Detail: a.detail, Err: a.cause}
	case h.silent.Load():
		return &relay.Error{Code: relay.CodeUnavailable, RetryAfter: 5 * time.Second, Detail: silence}
	}
	return nil
}

const silence = "the disk of the state directory does not answer; nothing was stored"

// bound ends ctx when the store stops writing: it answers no publish then, not
// even with an error.
func (h *health) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	h.mu.Lock()
	link := h.link
	h.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(link, func() { cancel(errStoreFailed) })
	return ctx, func() { stop(); cancel(nil) }
}

// errStoreFailed ends the wait for a store that does not write any more.
var errStoreFailed = errors.New("the store does not write any more")

// told gives the reason why bound ended a wait.
func told(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errStoreFailed) {
		return errStoreFailed
	}
	return err
}

// ready is nil when the store writes.
func (h *health) ready() error {
	if err := h.admit(); err != nil {
		return err
	}
	if doubt := h.doubt.Load(); doubt != nil {
		return errors.New("embedded broker: " + *doubt)
	}
	return nil
}

// looking marks the time of a look that may hang with the disk.
func (h *health) looking(look func()) {
	h.began.Store(time.Now().UnixNano())
	defer h.began.Store(0)
	look()
}

// busy is how long the look that is under way has taken so far.
func (h *health) busy() time.Duration {
	began := h.began.Load()
	if began == 0 {
		return 0
	}
	return time.Since(time.Unix(0, began))
}
