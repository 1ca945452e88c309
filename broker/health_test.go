package broker

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// The texts are those of nats-server 2.15.2 on Linux.
func TestDiagnose(t *testing.T) {
	const stream = "JetStream stream '$G > Q_x' write error: "
	for text, want := range map[string]ailmentKind{
		stream + "write /s/1.blk: no space left on device":         ailsFull,
		stream + "write /s/1.blk: disk quota exceeded":             ailsFull,
		stream + "open /s/2.blk: read-only file system":            ailsReadOnly,
		stream + "sync /s/1.blk: input/output error":               ailsSick,
		stream + "something nobody has seen":                       ailsSick,
		"JetStream stream '$G > Q_x' could not be recovered":       ailsUnwell,
		"JetStream is unavailable: no space left on device is not": ailsUnwell,
	} {
		require.Equal(t, want, diagnose(errors.New(text)), text)
	}
	require.Equal(t, ailsNothing, diagnose(nil))
	require.Equal(t, ailsUnwell, diagnose(errServerAway))
}

func TestHealthEndsWhatWaitsAndRefusesWhatComes(t *testing.T) {
	h := newHealth(zerolog.Nop())
	require.NoError(t, h.admit())
	waiting, cancel := h.bound(t.Context())
	defer cancel()
	h.fall(ailsFull, errors.New("first"))
	<-waiting.Done()
	require.ErrorIs(t, told(waiting, waiting.Err()), errStoreFailed)
	h.fall(ailsReadOnly, errors.New("second"))
	require.Equal(t, relay.CodeStorageFull, relay.CodeOf(h.admit()), "the first reason stays")
	require.ErrorContains(t, h.ready(), "the disk is full")

	h.rise()
	require.NoError(t, h.ready())
	require.EqualValues(t, 1, h.cured.Load())
	again, cancelAgain := h.bound(t.Context())
	require.NoError(t, again.Err())
	cancelAgain()
	require.Equal(t, context.Canceled, told(again, again.Err()), "ended by its owner")

	h.silent.Store(true)
	require.Equal(t, relay.CodeUnavailable, relay.CodeOf(h.admit()))
	require.Error(t, h.ready())
	h.silent.Store(false)
	text := "slow"
	h.doubt.Store(&text)
	require.NoError(t, h.admit(), "not ready is not yet refusing")
	require.ErrorContains(t, h.ready(), "slow")
}

func TestHealthKnowsHowLongALookTakes(t *testing.T) {
	h := newHealth(zerolog.Nop())
	require.Zero(t, h.busy())
	h.looking(func() {
		time.Sleep(time.Millisecond)
		require.GreaterOrEqual(t, h.busy(), time.Millisecond)
	})
	require.Zero(t, h.busy())
}

// What is under way counts as if it were written, and a look is due when a
// quarter of what is left has been accepted.
func TestDiskCountsWhatIsUnderWay(t *testing.T) {
	d := newDisk(t.TempDir(), 1, zerolog.Nop())
	d.free.Store(10 * messageCost)
	d.kept.Store(5 * messageCost)
	d.until.Store(1 << 40) // no look
	var admitted int
	for d.admit(0) == nil {
		admitted++
	}
	require.Equal(t, 5, admitted)
	require.Equal(t, relay.CodeStorageFull, relay.CodeOf(d.admit(0)))
	d.done(0)
	require.NoError(t, d.admit(0))

	d.until.Store(0)
	require.NoError(t, d.admit(0), "it looks, and sees the whole disk")
	require.Greater(t, d.free.Load(), int64(10*messageCost))
}

func TestDiskWithoutAReserve(t *testing.T) {
	d := newDisk(t.TempDir(), -1, zerolog.Nop())
	d.free.Store(0)
	d.until.Store(1 << 40)
	require.NoError(t, d.admit(1<<20))
}
