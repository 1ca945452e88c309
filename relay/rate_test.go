package relay

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAMeterTakesABurstAndThenTheRate(t *testing.T) {
	m, now, r := NewMeter(0), time.Unix(1000, 0), Rate{PerSecond: 2, Burst: 3}
	for left := 2; left >= 0; left-- {
		a := m.Take("a", r, now)
		require.Equal(t, Allowance{Quota: 3, Window: 2 * time.Second, Left: left}, a)
	}
	refused := m.Take("a", r, now)
	require.InDelta(t, 500*time.Millisecond, refused.Wait, float64(time.Millisecond))
	require.Zero(t, m.Take("b", r, now).Wait, "another has its own")

	now = now.Add(time.Second)
	require.Equal(t, 2, m.Look("a", r, now).Left, "a look takes nothing")
	require.Equal(t, 1, m.Take("a", r, now).Left)
	require.Equal(t, 9, m.Take("c", Rate{PerSecond: 9.5}, now).Left, "without a burst: what comes in a second")
	require.Equal(t, 0, m.Take("d", Rate{PerSecond: 0.1}, now).Left, "one at least")

	require.Zero(t, m.Take("a", r, now).Wait)
	raised := Rate{PerSecond: 100, Burst: 100}
	require.NotZero(t, m.Take("a", raised, now).Wait, "a raised rate counts from now on")
	require.Equal(t, 49, m.Take("a", raised, now.Add(500*time.Millisecond)).Left)
}

func TestAMeterRemembersSoManyAtMost(t *testing.T) {
	m, now, r := NewMeter(10), time.Unix(1000, 0), Rate{PerSecond: 1, Burst: 1}
	for i := range 1000 {
		m.Take(strconv.Itoa(i), r, now)
		require.LessOrEqual(t, len(m.buckets), 10)
	}
	now = now.Add(2 * time.Second) // all may come again
	m.Take("one who uses it", r, now)
	for i := range 5 {
		m.Take(strconv.Itoa(i), r, now)
		require.NotZero(t, m.Look("one who uses it", r, now).Wait, "who uses it is remembered before others")
	}
}

// While senders without number come, not each of them costs a search through all.
func TestAFullMeterMakesRoomForMany(t *testing.T) {
	m, now := NewMeter(80), time.Unix(1000, 0)
	for i := range 81 {
		m.Take(strconv.Itoa(i), Rate{PerSecond: 1, Burst: 1}, now)
	}
	require.Len(t, m.buckets, 71)
}

// A rate at which nobody lives to see the second request is a rate all the same.
func TestAVeryLowRate(t *testing.T) {
	m, now, r := NewMeter(0), time.Unix(1000, 0), Rate{PerSecond: 1e-15, Burst: 1}
	require.Zero(t, m.Take("a", r, now).Wait)
	a := m.Take("a", r, now)
	require.Greater(t, a.Wait, 365*24*time.Hour)
	require.Greater(t, a.Window, 365*24*time.Hour)
}
