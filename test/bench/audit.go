package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// auditing settles a great many messages and has the ledger proved, all of it
// and then what an earlier proof does not cover; beside it stands how much memory
// the relay took while it did.
func (b *bench) auditing() error {
	dir, clean, err := b.fresh()
	defer clean()
	if err != nil {
		return err
	}
	filled, err := b.fill(dir, 1<<10, b.million, "os")
	if err != nil {
		return err
	}
	s, err := startSink()
	if err != nil {
		return err
	}
	defer func() { _ = s.server.Close() }() // everything has come
	config, err := writeConfig(dir, "foreman: {concurrency: 64}\n")
	if err != nil {
		return err
	}
	p, err := b.startRelay(dir, "--durability", "os", "--config", config, "--foreman-url", s.url)
	if err != nil {
		return err
	}
	defer p.stop()
	if _, _, err := s.rate(b.keepGoing, int64(filled)); err != nil {
		return err
	}
	time.Sleep(20 * time.Second) // the broker drops its write caches after some ten
	fmt.Println("| audit | events | messages read | took | MiB resident before | at most meanwhile |\n|---|---|---|---|---|---|")
	for _, args := range [][]string{nil, {"--since", "1s"}, {"--since", "1s"}} {
		if err := b.auditOnce(p, dir, args); err != nil {
			return err
		}
	}
	return nil
}

// auditOnce runs the command and prints a row.
func (b *bench) auditOnce(p *program, dir string, args []string) error {
	before, err := p.resident()
	if err != nil {
		return err
	}
	if err := p.forgetPeak(); err != nil {
		return err
	}
	begun := time.Now()
	out, err := exec.CommandContext(b.keepGoing, b.relay, append([]string{"audit", "--admin-socket", filepath.Join(dir, "admin.sock"), "-o", "json"}, args...)...).Output()
	took := time.Since(begun)
	if err != nil {
		return fmt.Errorf("audit %v: %w: %s", args, err, out)
	}
	peak, err := p.peak()
	if err != nil {
		return err
	}
	var reports []struct {
		EventsRead   uint64 `json:"events_read"`
		MessagesRead uint64 `json:"messages_read"`
	}
	if err := json.Unmarshal(out, &reports); err != nil {
		return err
	}
	fmt.Printf("| %v | %d | %d | %.1f s | %d | %d |\n", args, reports[0].EventsRead, reports[0].MessagesRead, took.Seconds(), before>>20, peak>>20)
	return nil
}

// forgetPeak lets the kernel count the most memory anew from now on.
func (p *program) forgetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0o600)
}
