package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
	standin "github.com/theforeman/foreman-relay/test/foreman"
)

// What the machine's initrd holds beside this program, which is its init.
const (
	guestJob     = "/job"
	guestRelay   = "/relay"
	guestModules = "/modules"
	guestDisk    = "/dev/vda"
	guestPort    = "/dev/vport*p1" // numbered as the bus is
	guestState   = "/disk/state"
	guestAddress = "127.0.0.1:8008"
)

// The emulated machine is slow, and the host may be busy.
const (
	deviceTimeout = 30 * time.Second
	readyTimeout  = time.Minute
)

// guest is the one process of the machine, beside the relay.
type guest struct {
	job   job
	log   tail // of the relay
	began time.Time

	mu   sync.Mutex
	port *os.File
}

// runGuest is the machine's init. It does not end: the host cuts the power. Only
// where the host cannot be told it does, and the kernel with it.
func runGuest() {
	g := &guest{}
	err := g.run()
	fmt.Println("powercut:", err) // on the console
	if g.port == nil {
		return
	}
	g.tell(note{Kind: noteFailed, Text: err.Error()})
	for {
		time.Sleep(time.Hour)
	}
}

// run returns why it had to end.
func (g *guest) run() error {
	if err := g.setUp(); err != nil {
		return err
	}
	g.began = time.Now()
	died, err := g.startRelay()
	if err != nil {
		return err
	}
	if err := g.awaitReady(died); err != nil {
		return err
	}
	g.tell(note{Kind: noteReady})
	client := handlers.Dial(filepath.Join(guestState, "admin.sock"))
	if err := g.look(client); err != nil {
		return err
	}
	g.tell(note{Kind: noteDone})
	if g.job.Load {
		g.load()
	}
	return fmt.Errorf("the relay ended: %w", <-died)
}

// setUp makes a machine of a bare kernel.
func (g *guest) setUp() error {
	for _, m := range []struct{ kind, dir string }{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", "/tmp"}} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	if err := loadModules(); err != nil {
		return err
	}
	var err error
	if g.port, err = openPort(); err != nil {
		return err
	}
	text, err := os.ReadFile(guestJob)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &g.job); err != nil {
		return fmt.Errorf("%s: %w", guestJob, err)
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return mountDisk()
}

// openPort tries again: the device is there before the host has opened its end.
func openPort() (*os.File, error) {
	for deadline := time.Now().Add(deviceTimeout); ; time.Sleep(10 * time.Millisecond) {
		path, err := await(guestPort)
		if err != nil {
			return nil, err
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil || time.Now().After(deadline) {
			return f, err
		}
	}
}

func mountDisk() error {
	if _, err := await(guestDisk); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(guestState), 0o755); err != nil {
		return err
	}
	if err := unix.Mount(guestDisk, filepath.Dir(guestState), "ext4", 0, ""); err != nil { // replays the journal
		return fmt.Errorf("mount %s: %w", guestDisk, err)
	}
	return nil
}

// loadModules inserts them in the order of their names, which the host chose.
func loadModules() error {
	names, err := filepath.Glob(guestModules + "/*")
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		_ = f.Close() // only read
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
	}
	return nil
}

// await waits for a device; the kernel makes it in its own time.
func await(pattern string) (string, error) {
	for deadline := time.Now().Add(deviceTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if found, err := filepath.Glob(pattern); err != nil || len(found) > 0 {
			return strings.Join(found, " "), err
		}
	}
	return "", fmt.Errorf("the kernel has found no %s", pattern)
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // it held nothing
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// startRelay starts the real program; died gets how it ended.
func (g *guest) startRelay() (died chan error, err error) {
	foreman := standin.New() // so that settlements are written too
	foreman.OnCounted(func(r *standin.Request) {
		g.tell(note{Kind: noteSent, Stored: stored{Digest: relay.DigestOf(r.Body)}})
	})
	if err := foreman.Start("127.0.0.1:0"); err != nil {
		return nil, err
	}
	cmd := exec.Command(guestRelay, "serve", "--listen", guestAddress, "--state-dir", guestState,
		"--durability", g.job.Mode, "--foreman-url", foreman.URL(), "--log-level", "warn")
	cmd.Stdout, cmd.Stderr = os.Stdout, io.MultiWriter(os.Stdout, &g.log)
	cmd.Env = []string{"HOME=/tmp", "TMPDIR=/tmp"}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	died = make(chan error, 1)
	go func() {
		_ = cmd.Wait() // its state says the same
		died <- fmt.Errorf("%s; it wrote at last: %s", cmd.ProcessState, g.log.String())
	}()
	return died, nil
}

// look looks for everything that was answered, and at the ledger.
func (g *guest) look(client *handlers.Client) error {
	ctx := context.Background()
	states := map[relay.State]int{}
	var again []string
	for _, want := range g.job.Acked {
		got, err := client.Message(ctx, want.ID)
		switch {
		case err != nil:
			g.tell(note{Kind: noteLost, Stored: want, Text: err.Error()})
		case got.Digest != want.Digest:
			g.tell(note{Kind: noteLost, Stored: want, Text: fmt.Sprintf("it is there as %s with another body, sha256 %q", got.State, got.Digest)})
		default:
			states[got.State]++
			if g.job.Delivered[want.Digest] && !g.recorded(got) {
				again = append(again, want.ID)
			}
		}
	}
	for state, count := range states {
		g.tell(note{Kind: noteThere, State: state, Count: count})
	}
	reports, err := client.Audit(ctx, relay.AuditOptions{})
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	var broken []string
	for _, r := range reports {
		if !r.Balanced {
			broken = append(broken, fmt.Sprintf("%s/%s: accepted %d, pending %d, settled %v, findings %v", r.Organization, r.Destination, r.Accepted, r.Pending, r.Totals, r.Findings))
		}
	}
	broken = append(broken, g.unnamed(again, reports)...)
	g.tell(note{Kind: noteLedger, Text: strings.Join(broken, "; ")})
	return nil
}

// recorded says that a message was settled before this run began.
func (g *guest) recorded(m relay.MessageStatus) bool {
	return slices.ContainsFunc(m.Events, func(e relay.EventStatus) bool { return e.State.Settled() && e.At.Before(g.began) })
}

// unnamed is what was delivered before and is delivered again, because its record
// was lost, without being named by audit.
func (g *guest) unnamed(again []string, reports []relay.AuditReport) (broken []string) {
	named := map[string]bool{}
	doubt := uint64(0)
	for _, r := range reports {
		doubt += r.InDoubt
		for _, n := range r.Notes {
			named[n.ID] = true
		}
	}
	g.tell(note{Kind: noteAgain, Count: len(again)})
	g.tell(note{Kind: noteDoubt, Count: int(doubt)})
	for _, id := range again {
		if !named[id] {
			broken = append(broken, id+" was delivered before the cut, is delivered again, and audit does not name it")
		}
	}
	return broken
}

// tell is one write, taken by the host before it returns.
func (g *guest) tell(n note) {
	line, err := json.Marshal(n)
	if err != nil {
		return // a note can be encoded
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	_, _ = g.port.Write(append(line, '\n')) // there is nobody else to tell
}
