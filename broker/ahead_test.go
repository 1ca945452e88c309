package broker

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// shelf is a journal of messages, and what was asked of it.
type shelf struct {
	mu    sync.Mutex
	size  int    // bytes of each
	gone  uint64 // is not there
	fail  error
	asked []int // how many at one time
}

func (s *shelf) read(_ context.Context, from uint64, most, bytes int) ([]*stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, most)
	if s.fail != nil {
		return nil, s.fail
	}
	var batch []*stored
	for i := from; len(batch) < most && (len(batch) == 0 || (len(batch)+1)*s.size <= bytes); i++ {
		if i != s.gone {
			batch = append(batch, &stored{sequence: i, data: make([]byte, s.size)})
		}
	}
	return batch, nil
}

func onShelf(s *shelf) *ahead { return &ahead{kept: map[uint64]*stored{}, read: s.read} }

func TestNeighboursAreReadInRuns(t *testing.T) {
	s := &shelf{size: 100, gone: 50}
	a := onShelf(s)
	for i := uint64(1); i <= 1000; i++ {
		m, err := a.get(t.Context(), t.Context(), i)
		if i == s.gone {
			require.ErrorIs(t, err, errNotFound)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, i, m.sequence)
	}
	require.Less(t, len(s.asked), 60, "runs of %d, not a thousand questions", aheadRun)
	require.Equal(t, 1, s.asked[0], "a single message is read alone")
}

func TestWhatLiesApartIsReadAlone(t *testing.T) {
	s := &shelf{size: 100}
	a := onShelf(s)
	for i := uint64(1); i <= 100; i++ {
		m, err := a.get(t.Context(), t.Context(), i*1000)
		require.NoError(t, err)
		require.Equal(t, i*1000, m.sequence)
	}
	require.NotContains(t, s.asked, aheadRun)
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	for name, size := range map[string]int{"in number": 1, "in bytes": 600 << 10} {
		t.Run(name, func(t *testing.T) {
			a := onShelf(&shelf{size: size})
			for i := uint64(1); i <= 4000; i += 16 { // nobody comes for most of each run
				_, err := a.get(t.Context(), t.Context(), i)
				require.NoError(t, err)
				require.LessOrEqual(t, len(a.kept), aheadKept)
				require.LessOrEqual(t, a.bytes, aheadBytes)
				sum := 0
				for _, m := range a.kept {
					sum += len(m.data)
				}
				require.Equal(t, sum, a.bytes)
			}
			a.forget()
			require.Empty(t, a.kept)
			require.Zero(t, a.bytes)
		})
	}
}

// What was read by a connection that is lost may be another message by now.
func TestNothingIsKeptOverALostConnection(t *testing.T) {
	s := &shelf{size: 100}
	a := onShelf(s)
	for i := uint64(1); i <= 10; i++ {
		_, err := a.get(t.Context(), t.Context(), i)
		require.NoError(t, err)
	}
	require.NotEmpty(t, a.kept)
	asked := len(s.asked)
	other, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := a.get(t.Context(), other, 11)
	require.NoError(t, err)
	require.Len(t, s.asked, asked+1, "it was read again")
	require.Empty(t, a.kept)
}

func TestAFailedRunFailsNobodyElseForGood(t *testing.T) {
	s := &shelf{size: 100}
	a := onShelf(s)
	for i := uint64(1); i < aheadAfter; i++ {
		_, err := a.get(t.Context(), t.Context(), i)
		require.NoError(t, err)
	}
	s.fail = errors.New("away")
	_, err := a.get(t.Context(), t.Context(), aheadAfter)
	require.ErrorIs(t, err, s.fail)
	s.fail = nil
	var all sync.WaitGroup
	for i := uint64(aheadAfter); i < 200; i++ {
		all.Go(func() {
			m, err := a.get(t.Context(), t.Context(), i)
			if err != nil || m.sequence != i {
				t.Errorf("%d: %v %v", i, m, err)
			}
		})
	}
	all.Wait()
}
