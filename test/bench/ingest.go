package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// side is one of the two that are compared.
type side struct {
	start func(dir string) (*program, error)
	paths []string
}

// pair is a row of a table: ours against theirs, the ratio that is wanted.
type pair struct {
	name         string
	ours, theirs side
	want         func(clients int) float64
}

const reportPath = "/api/config_reports"

func (b *bench) ours(durability string, args ...string) side {
	return side{func(dir string) (*program, error) {
		return b.startRelay(dir, append([]string{"--durability", durability}, args...)...)
	}, []string{reportPath}}
}

func (b *bench) handler(always bool, streams int) side {
	s := side{start: func(dir string) (*program, error) { return b.startBaseline(dir, always, streams) }}
	for i := range streams {
		s.paths = append(s.paths, fmt.Sprint("/", i))
	}
	return s
}

func (b *bench) ingest() error {
	growing := map[int]float64{1: 0.9, 16: 2.5, 64: 4, 256: 4}
	pairs := []pair{
		{"fsync : SyncAlways", b.ours("fsync"), b.handler(true, 1), func(c int) float64 { return growing[c] }},
		{"fsync-always : SyncAlways", b.ours("fsync-always"), b.handler(true, 1), func(int) float64 { return 0.8 }},
		{"os : lazily synced", b.ours("os"), b.handler(false, 1), func(int) float64 { return 0.7 }},
	}
	ingestHead()
	for _, p := range pairs {
		for _, size := range b.sizes {
			for _, clients := range b.clients {
				if err := b.compare(p, size, clients); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (b *bench) queues() error {
	const n = 16
	organizations := make([]string, n)
	paths := make([]string, n)
	for i := range n {
		organizations[i] = fmt.Sprint("org", i)
		paths[i] = fmt.Sprintf("/relay/v1/queues/org%d/foreman/messages", i)
	}
	ours := side{func(dir string) (*program, error) {
		config, err := writeConfig(dir, "organizations: ["+strings.Join(organizations, ", ")+"]\n")
		if err != nil {
			return nil, err
		}
		return b.startRelay(dir, "--config", config)
	}, paths}
	ingestHead()
	return b.compare(pair{"fsync : SyncAlways, 16 queues", ours, b.handler(true, n), func(int) float64 { return 3 }}, 1<<10, 64)
}

func ingestHead() {
	fmt.Println("| work | body | clients | ours /s | theirs /s | ratio | at least | ours p50, p99 | theirs p50, p99 |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
}

// compare runs both sides in turn and prints the medians.
func (b *bench) compare(p pair, size, clients int) error {
	var ours, theirs []figures
	for round := range b.rounds {
		for _, s := range []struct {
			side side
			into *[]figures
		}{{p.ours, &ours}, {p.theirs, &theirs}} {
			f, err := b.once(s.side, size, clients, round)
			if err != nil {
				return fmt.Errorf("%s, %d clients: %w", p.name, clients, err)
			}
			*s.into = append(*s.into, f)
		}
	}
	o, t := median(ours), median(theirs)
	fmt.Printf("| %s | %d KB | %d | %.0f | %.0f | %.2f | %.1f | %s, %s | %s, %s |\n", p.name, size>>10, clients, o.rate, t.rate,
		o.rate/t.rate, p.want(clients), short(o.p50), short(o.p99), short(t.p50), short(t.p99))
	return nil
}

func (b *bench) once(s side, size, clients, round int) (figures, error) {
	dir, clean, err := b.fresh()
	defer clean()
	if err != nil {
		return figures{}, err
	}
	p, err := s.start(dir)
	if err != nil {
		return figures{}, err
	}
	defer p.stop()
	if _, err := p.ready(b.keepGoing); err != nil {
		return figures{}, err
	}
	f, err := load{address: p.address, paths: s.paths, clients: clients, time: b.time, body: reports(size, round)}.run(b.keepGoing)
	if err == nil && f.failed > 0 {
		err = fmt.Errorf("%d requests failed: %s", f.failed, p.log.String())
	}
	return f, err
}

// median is the run with the median rate.
func median(all []figures) figures {
	slices.SortFunc(all, func(x, y figures) int { return int(x.rate - y.rate) })
	return all[len(all)/2]
}

func short(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
