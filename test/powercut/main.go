// Command powercut cuts the power of a machine on which the relay takes reports,
// again and again, and counts what was answered and is gone.
//
//	make powercut
//	go run ./test/powercut -seed 7 -fsync 10 -os 0
//
// The machine is emulated (qemu, no hardware help), runs Debian's kernel and the
// real program on ext4, and has a disk with a volatile cache (Disk): of what was
// not flushed a random part is gone after a cut, in any order. It exits with 1
// when a mode that promises to lose nothing lost something, or when os lost
// nothing: then this test shows nothing. With 2 when it could not be made.
//
// A seed repeats the moments, in time, and the choice among equal sectors; the
// machine itself is not repeatable to the instruction.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// modes are tried in this order, each on a disk of its own.
var modes = []struct {
	name  string
	cuts  int // by default
	loses bool
}{{"fsync", 6, false}, {"fsync-always", 2, false}, {"os", 3, true}}

var errFailed = errors.New("the promise is not kept")

func main() {
	if len(os.Args) > 1 && os.Args[1] == guestWord {
		runGuest()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	switch {
	case errors.Is(err, errFailed):
		fmt.Println(err)
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "powercut:", err)
		os.Exit(2)
	}
}

func run(ctx context.Context) error {
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the moments and of what the disk keeps")
	kernel := flag.String("kernel", "bin/powercut/kernel", "directory with Debian's kernel, unpacked")
	cuts := make([]*int, len(modes))
	for i, m := range modes {
		cuts[i] = flag.Int(m.name, m.cuts, "cuts in mode "+m.name)
	}
	flag.Parse()
	fmt.Println("seed", *seed)
	l, err := newLab(ctx, *kernel)
	if err != nil {
		return err
	}
	defer l.close()
	var failed []string
	for i, m := range modes {
		if *cuts[i] <= 0 {
			continue
		}
		s := &series{lab: l, mode: m.name, chance: rand.New(rand.NewPCG(*seed, uint64(i)))}
		t := &table{}
		t.head(m.name)
		if err := s.run(ctx, *cuts[i], t.row); err != nil {
			return fmt.Errorf("%w\nthe end of its console:\n%s", err, l.console())
		}
		t.sum(m.name)
		if why := t.verdict(m.loses); why != "" {
			failed = append(failed, m.name+": "+why)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("%w: %s", errFailed, strings.Join(failed, "; "))
	}
	fmt.Println("\nEverything that was promised to be there was there.")
	return nil
}
