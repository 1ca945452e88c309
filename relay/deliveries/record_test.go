package deliveries

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/theforeman/foreman-relay/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a time that a test moves on.
type clock struct{ passed atomic.Int64 }

func newClock() *clock { return &clock{} }

func (c *clock) now() time.Time {
	return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC).Add(time.Duration(c.passed.Load()))
}

func (c *clock) pass(days int) { c.passed.Add(int64(days) * int64(24*time.Hour)) }

func message(n int) *relay.Message {
	return &relay.Message{ID: fmt.Sprintf("4jrab7ji-%024d", n), Digest: relay.DigestOf([]byte("body"))}
}

// open opens a record that is closed with the test; what it logs is in the
// buffer after that, or between two calls of it.
func open(t *testing.T, dir string, c *clock, change func(*Options)) (*Record, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	o := Options{Dir: dir, Window: DefaultWindow, Now: c.now, Log: zerolog.New(log)}
	if change != nil {
		change(&o)
	}
	r, err := Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r, log
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestWhatWasNotedIsDone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deliveries")
	r, _ := open(t, dir, newClock(), nil)
	require.False(t, r.Done(message(1)))
	require.NoError(t, r.Note(message(1)))
	require.True(t, r.Done(message(1)))
	require.False(t, r.Done(message(2)), "another message")
	other := message(1)
	other.Digest = relay.DigestOf([]byte("another body"))
	require.False(t, r.Done(other), "the same key, used again for another body")

	// Nothing is closed: this is what the next process finds after a SIGKILL.
	next, _ := open(t, dir, newClock(), nil)
	require.True(t, next.Done(message(1)))
	require.False(t, next.Done(message(2)))
	info, err := os.Stat(filepath.Join(dir, files(t, dir)[0]))
	require.NoError(t, err)
	require.EqualValues(t, 16, info.Size(), "bytes a delivery")
}

// Of attempts that must not be made twice: one that began is in doubt until it
// has ended or the destination has the message.
func TestAnAttemptIsInDoubtUntilItEnds(t *testing.T) {
	dir := t.TempDir()
	r, _ := open(t, dir, newClock(), nil)
	require.False(t, r.Unended(message(1)))
	for range 2 { // the second attempt as the first
		require.NoError(t, r.Begin(message(1)))
		next, _ := open(t, dir, newClock(), nil)
		require.True(t, next.Unended(message(1)))
		require.False(t, next.Done(message(1)))
		require.False(t, next.Unended(message(2)))
		require.NoError(t, r.End(message(1)))
		require.False(t, r.Unended(message(1)))
	}
	require.NoError(t, r.Begin(message(1)))
	require.NoError(t, r.Note(message(1)))
	require.False(t, r.Unended(message(1)))
	require.True(t, r.Done(message(1)))
}

// A write that a crash has torn leaves a part of a fingerprint: the next one is
// written over it, so that no later one is shifted.
func TestATornRecordIsWrittenOver(t *testing.T) {
	dir := t.TempDir()
	r, _ := open(t, dir, newClock(), nil)
	require.NoError(t, r.Note(message(1)))
	path := filepath.Join(dir, files(t, dir)[0])
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append(whole, "torn"...), 0o600))

	r, _ = open(t, dir, newClock(), nil)
	require.True(t, r.Done(message(1)))
	require.NoError(t, r.Note(message(2)))
	r, _ = open(t, dir, newClock(), nil)
	require.True(t, r.Done(message(1)))
	require.True(t, r.Done(message(2)))
	require.Len(t, files(t, dir), 1, "a day is one file, however often the drain is started")
}

func TestADeliveryIsForgottenAfterTheWindow(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	r, _ := open(t, dir, c, nil)
	require.NoError(t, r.Note(message(1)))
	for day := 1; day <= 7; day++ {
		c.pass(1)
		require.NoError(t, r.Note(message(1+day)))
		require.True(t, r.Done(message(1)), "day %d", day)
	}
	require.Len(t, files(t, dir), 8)
	c.pass(1)
	require.NoError(t, r.Note(message(9)))
	require.False(t, r.Done(message(1)))
	require.True(t, r.Done(message(2)))
	require.Len(t, files(t, dir), 8, "the file is gone")

	c.pass(30)
	r, _ = open(t, dir, c, nil)
	require.False(t, r.Done(message(9)))
	require.Empty(t, files(t, dir))
}

// others are fingerprints of deliveries that nobody asks for.
func others(seed byte) func() fingerprint {
	random := rand.NewChaCha8([32]byte{seed})
	return func() (p fingerprint) {
		_, _ = random.Read(p[:]) // it never fails
		return p
	}
}

// A full file is followed by another of the same day; beyond the bound the
// oldest is given up, and that is said once.
func TestWhatIsKeptIsBounded(t *testing.T) {
	dir := t.TempDir()
	small := func(o *Options) { o.perFile, o.most = 64, 128 }
	r, log := open(t, dir, newClock(), small)
	for i := range 128 {
		require.NoError(t, r.Note(message(i)))
	}
	require.Equal(t, []string{"00000001-2026-11-24.v1", "00000002-2026-11-24.v1"}, files(t, dir))
	require.True(t, r.Done(message(0)))
	require.Empty(t, log.String())

	for i := 128; i < 64*4; i++ {
		require.NoError(t, r.Note(message(i)))
	}
	r, _ = open(t, dir, newClock(), small)
	require.Equal(t, []string{"00000003-2026-11-24.v1", "00000004-2026-11-24.v1"}, files(t, dir))
	for i := range 64 * 4 {
		require.Equal(t, i >= 128, r.Done(message(i)), i)
	}
	require.Equal(t, 1, strings.Count(log.String(), "forgotten before the window has passed"))
}

// The numbers of the package comment, of a file of a sixteenth.
func TestMemoryAndMistakesOfAFilter(t *testing.T) {
	const size = segmentSize / 16
	f := newFilter(size)
	require.LessOrEqual(t, len(f)*8*16*(maxDeliveries/segmentSize), 101_000_000, "bytes, of all files")
	for next, i := others(1), 0; i < size; i++ {
		f.add(next())
	}
	mistakes := 0
	for next, i := others(2), 0; i < 200_000; i++ {
		if f.mayHave(next()) {
			mistakes++
		}
	}
	require.Less(t, mistakes, 10, "of 200 000; 3 are meant")
	for next, i := others(1), 0; i < 1000; i++ {
		require.True(t, f.mayHave(next()))
	}
}

// A file is read in parts, and only whole places count.
func TestALongFileIsSearchedToItsBeginning(t *testing.T) {
	dir := t.TempDir()
	const count = 2*chunk/fingerprintSize + 5
	all := make([]byte, count*fingerprintSize)
	_, _ = rand.NewChaCha8([32]byte{}).Read(all) // it never fails
	places := []int{0, 4, 5, chunk / fingerprintSize, count - 1}
	for _, i := range places {
		p := fingerprintOf(isDelivered, message(i))
		copy(all[i*fingerprintSize:], p[:])
	}
	shifted := fingerprintOf(isDelivered, message(9999))
	copy(all[100*fingerprintSize+8:], shifted[:])
	require.NoError(t, os.WriteFile(filepath.Join(dir, "00000001-2026-11-24.v1"), all, 0o600))
	r, _ := open(t, dir, newClock(), nil)
	for _, i := range places {
		require.True(t, r.Done(message(i)), i)
	}
	r.segments[0].known.add(shifted) // as by a filter's mistake
	require.False(t, r.Done(message(9999)))
}

// A day that is over needs no room for more.
func TestRoomIsGivenBack(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	r, _ := open(t, dir, c, nil)
	require.NoError(t, r.Note(message(1)))
	require.Equal(t, segmentSize, r.segments[0].known.room())
	c.pass(1)
	require.NoError(t, r.Note(message(2)))
	require.Less(t, r.segments[0].known.room(), 64)
	require.True(t, r.Done(message(1)))
	r, _ = open(t, dir, c, nil)
	require.Less(t, r.segments[0].known.room(), 64)
	require.Equal(t, segmentSize, r.segments[1].known.room())
}

func TestALookupAllocatesNothing(t *testing.T) {
	r, _ := open(t, t.TempDir(), newClock(), nil)
	require.NoError(t, r.Note(message(1)))
	m := message(2)
	require.Zero(t, testing.AllocsPerRun(100, func() { r.Done(m) }))
}

// What cannot be written is an error, and the next one is tried again.
func TestARecordThatCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deliveries")
	r, _ := open(t, dir, newClock(), nil)
	require.NoError(t, os.WriteFile(dir, nil, 0o600)) // a file where the directory should be
	require.ErrorContains(t, r.Note(message(1)), "record of deliveries")
	require.False(t, r.Done(message(1)))
	require.NoError(t, os.Remove(dir))
	require.NoError(t, r.Note(message(1)))
	require.True(t, r.Done(message(1)))
}

// A file that cannot be read is said, and takes nothing else with it; what is
// not ours is left alone.
func TestAnUnreadableFileIsLeftOut(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "00000001-2026-11-24.v1"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "00000007-2020-01-01.v2"), []byte("later"), 0o600))
	r, log := open(t, dir, newClock(), nil)
	require.Contains(t, log.String(), "may be delivered again")
	require.NoError(t, r.Note(message(1)))
	require.True(t, r.Done(message(1)))
	require.Equal(t, []string{"00000001-2026-11-24.v1", "00000002-2026-11-24.v1", "00000007-2020-01-01.v2"}, files(t, dir))
}

func BenchmarkNote(b *testing.B) {
	r, err := Open(Options{Dir: b.TempDir(), Window: DefaultWindow, Now: time.Now, Log: zerolog.Nop()})
	require.NoError(b, err)
	defer func() { require.NoError(b, r.Close()) }()
	m := message(0)
	for b.Loop() {
		if r.Done(m) {
			b.Fatal("it was not delivered")
		}
		m.ID = relay.FreshID(relay.Queue{Organization: "default", Destination: "foreman"})
		if err := r.Note(m); err != nil {
			b.Fatal(err)
		}
		m.ID = m.ID[:len(m.ID)-1] + "!"
	}
}

// What was written is synced within about a second, with nobody waiting for it.
func TestWhatWasWrittenIsSynced(t *testing.T) {
	r, log := open(t, t.TempDir(), newClock(), nil)
	require.NoError(t, r.Note(message(1)))
	unsynced := func() bool {
		r.mu.RLock()
		defer r.mu.RUnlock()
		return r.unsynced != nil
	}
	require.True(t, unsynced())
	require.Eventually(t, func() bool { return !unsynced() }, 10*time.Second, 5*time.Millisecond)
	require.Empty(t, log.String())
}
