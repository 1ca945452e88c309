package cmd

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxRate is the highest --rate, a second.
const maxRate = 10_000

// parseRate reads N, N/s, N/m or N/h as so many a second; 0 for none.
func parseRate(s string) (float64, error) {
	if s == "" {
		return 0, nil
	}
	number, unit, _ := strings.Cut(s, "/")
	per, known := map[string]float64{"": 1, "s": 1, "m": 60, "h": 3600}[unit]
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !known || !(n > 0) || n/per > maxRate {
		return 0, usage(fmt.Errorf("--rate is %q; write how many a second, minute or hour, like 10/s or 30/m, at most %d/s", s, maxRate))
	}
	return n / per, nil
}

// pace lets things happen at even intervals.
type pace struct {
	interval time.Duration // 0: at once
	now      func() time.Time
	sleep    func(context.Context, time.Duration)
	next     time.Time
}

func newPace(rate float64) *pace {
	p := &pace{now: time.Now, sleep: sleepUntil}
	if rate > 0 {
		p.interval = time.Duration(float64(time.Second) / rate)
	}
	return p
}

// wait waits for the next turn; false when ctx has ended. What is late is not
// made up for.
func (p *pace) wait(ctx context.Context) bool {
	if p.interval > 0 {
		now := p.now()
		if p.next.Before(now) {
			p.next = now
		}
		p.sleep(ctx, p.next.Sub(now))
		p.next = p.next.Add(p.interval)
	}
	return ctx.Err() == nil
}

func sleepUntil(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
