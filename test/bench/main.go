// Command bench measures the relay beside the least that one could write around
// JetStream (test/bench/baseline), in the same run, on the same machine and the
// same filesystem, and prints the ratios. docs/performance.md has its figures.
//
//	go run ./test/bench                      # everything, about 20 minutes
//	go run ./test/bench --only ingest,drain --time 2s
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run: where, how long, and the two programs.
type bench struct {
	dir       string // of the stores; on the filesystem that is measured
	relay     string // the programs
	baseline  string
	time      time.Duration // of one load
	rounds    int           // of each pair; the median counts
	clients   []int
	sizes     []int
	million   int
	settled   int
	keepGoing context.Context //nolint:containedctx // of the whole run; ends it at Ctrl-C
}

// sections are what can be measured, in order.
var sections = []struct {
	name, what string
	run        func(*bench) error
}{
	{"ingest", "requests stored and answered, keep-alive", (*bench).ingest},
	{"queues", "the same over 16 queues, 64 clients", (*bench).queues},
	{"drain", "messages delivered, 64 in flight", (*bench).drain},
	{"million", "a million waiting messages: memory, and ready after SIGKILL", (*bench).manyWaiting},
	{"audit", "a million settled messages: how long an audit takes, and its memory", (*bench).auditing},
	{"tls", "mutual TLS, one new connection per report, beside plain HTTP", (*bench).mutualTLS},
}

func run() error {
	b := &bench{clients: []int{1, 16, 64, 256}, sizes: []int{1 << 10, 16 << 10}}
	names := make([]string, len(sections))
	for i, s := range sections {
		names[i] = s.name
	}
	only := flag.String("only", strings.Join(names, ","), "`sections` to run")
	dir := flag.String("dir", "", "`directory` on the filesystem to measure (default: an ext4 of its own in a file, where that can be mounted)")
	flag.DurationVar(&b.time, "time", 3*time.Second, "`time` of one load")
	flag.IntVar(&b.rounds, "rounds", 3, "`times` that each pair is run; the medians count")
	flag.IntVar(&b.million, "messages", 1_000_000, "`number` of messages of the sections million and audit")
	flag.IntVar(&b.settled, "drained", 60_000, "`number` of messages of section drain")
	flag.Parse()

	var stop context.CancelFunc
	b.keepGoing, stop = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	clean, err := b.settle(*dir)
	defer clean()
	if err != nil {
		return err
	}
	for _, s := range sections {
		if !slices.Contains(strings.Split(*only, ","), s.name) {
			continue
		}
		fmt.Printf("\n## %s: %s\n\n", s.name, s.what)
		if err := s.run(b); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// settle finds a place and builds the programs.
func (b *bench) settle(dir string) (clean func(), err error) {
	temp, err := os.MkdirTemp("", "foreman-relay-bench-")
	clean = func() { _ = os.RemoveAll(temp) } // a temporary directory
	if err != nil {
		return clean, err
	}
	b.relay, b.baseline = filepath.Join(temp, "foreman-relay"), filepath.Join(temp, "baseline")
	for bin, pkg := range map[string]string{b.relay: "cmd/foreman-relay", b.baseline: "test/bench/baseline"} {
		if err := build(bin, pkg); err != nil {
			return clean, err
		}
	}
	if dir != "" {
		b.dir, err = os.MkdirTemp(dir, "bench-")
		return func() { _ = os.RemoveAll(b.dir); _ = os.RemoveAll(temp) }, err
	}
	mounted, unmount, why := mountExt4(temp)
	if why == nil {
		b.dir = mounted
		return func() { unmount(); _ = os.RemoveAll(temp) }, nil
	}
	fmt.Printf("no ext4 of its own: %v; measured is the filesystem of %s\n", why, temp)
	b.dir, err = os.MkdirTemp(temp, "stores-")
	return clean, err
}

// fresh is a new directory for a store.
func (b *bench) fresh() (string, func(), error) {
	dir, err := os.MkdirTemp(b.dir, "store-")
	return dir, func() { _ = os.RemoveAll(dir) }, err // a temporary directory
}
