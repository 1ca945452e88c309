package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	// guestWord tells this program that it is a machine's init.
	guestWord = "guest"
	// diskSize is above what the relay keeps free; the image is sparse.
	diskSize = 4 << 30
)

// lab has all that a machine is made of, in a temporary directory.
type lab struct {
	dir    string
	kernel *kernel
	boots  int
}

// newLab builds the relay, and this program once more as the machine's init. It
// must run within the module.
func newLab(ctx context.Context, kernelDir string) (*lab, error) {
	k, err := findKernel(kernelDir)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "powercut-") // short: sockets are in it
	if err != nil {
		return nil, err
	}
	l := &lab{dir: dir, kernel: k}
	for name, pkg := range map[string]string{"relay": "cmd/foreman-relay", "init": "test/powercut"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w",
			"-o", filepath.Join(dir, name), "github.com/theforeman/foreman-relay/"+pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
		if out, err := cmd.CombinedOutput(); err != nil {
			l.close()
			return nil, fmt.Errorf("go build %s: %w: %s", pkg, err, out)
		}
	}
	return l, nil
}

func (l *lab) close() { _ = os.RemoveAll(l.dir) } // a temporary directory

// format makes an ext4 with a journal and default options, as an operator would.
func (l *lab) format(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := f.Truncate(diskSize); err != nil {
		_ = f.Close() // the image is no use
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	// What a lazy mkfs leaves for the kernel to write would only be noise.
	out, err := exec.Command("mkfs.ext4", "-q", "-F", "-N", "16384", "-E", "lazy_itable_init=0,lazy_journal_init=0", path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %s", err, out)
	}
	return nil
}

// boot switches a machine on that does a job.
func (l *lab) boot(ctx context.Context, d *Disk, j job) (*machine, error) {
	l.boots++
	dir := filepath.Join(l.dir, fmt.Sprint(l.boots))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(l.dir, "initrd")
	if err := l.writeInitrd(path, j); err != nil {
		return nil, err
	}
	return switchOn(ctx, dir, l.kernel.image, path, d)
}

func (l *lab) writeInitrd(path string, j job) error {
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	a := &initrd{w: f}
	a.addFile("init", filepath.Join(l.dir, "init"))
	a.addFile(guestRelay[1:], filepath.Join(l.dir, "relay"))
	a.add(guestJob[1:], text)
	a.mkdir(guestModules[1:])
	for i, module := range l.kernel.modules {
		a.addFile(fmt.Sprintf("%s/%02d-%s", guestModules[1:], i, filepath.Base(module)), module)
	}
	if err := a.close(); err != nil {
		_ = f.Close() // the archive is no use
		return err
	}
	return f.Close()
}

// console is the end of what the last machine wrote to its console.
func (l *lab) console() string {
	text, err := os.ReadFile(filepath.Join(l.dir, fmt.Sprint(l.boots), consoleName))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}
