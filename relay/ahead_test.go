package relay

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// flakyJournal fails to read its first message once.
type flakyJournal struct {
	Journal
	failed bool
}

func (j *flakyJournal) Message(_ context.Context, sequence uint64) (*Message, error) {
	if sequence == 10 && !j.failed {
		j.failed = true
		return nil, errors.New("away")
	}
	return &Message{ID: "m", Lane: "web", Urgent: true, Sequence: sequence}, nil
}

// Of two urgent messages of a lane the second is not taken ahead of a first one
// that could not be read at once.
func TestUrgentOnesAheadKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		w := &Worker{Queue: Queue{"default", "foreman"}, Journal: &flakyJournal{}, Log: zerolog.Nop(), Now: time.Now,
			Policy: func(string) Policy { return Policy{} }}
		x := indexOf(DefaultIndexLimits())
		r := &term{Worker: w, x: x, known: NewLedger(), compaction: newCompaction()}
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.readTold(ctx)
		}()
		x.tell(0, 2, []uint64{10, 20})
		time.Sleep(time.Second)
		for _, want := range []uint64{10, 20} {
			e, ok := x.next()
			require.True(t, ok)
			require.Equal(t, want, e.Sequence)
			x.settle(e)
		}
		end()
		<-done
	})
}
