package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// imageSize is the filesystem that is made for the measurement, in bytes; the
// file is sparse.
const imageSize = 12 << 30

func build(bin, pkg string) error {
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "github.com/theforeman/foreman-relay/"+pkg).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	return nil
}

// mountExt4 mounts an ext4 with a journal and default options.
func mountExt4(temp string) (dir string, unmount func(), err error) {
	image, dir := filepath.Join(temp, "image"), filepath.Join(temp, "mnt")
	f, err := os.Create(image)
	if err != nil {
		return "", nil, err
	}
	if err := errors.Join(f.Truncate(imageSize), f.Close(), os.Mkdir(dir, 0o700)); err != nil {
		return "", nil, err
	}
	for _, c := range [][]string{{"mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			return "", nil, fmt.Errorf("%s: %w: %s", c[0], err, bytes.TrimSpace(out))
		}
	}
	return dir, func() { _ = exec.Command("umount", dir).Run() }, nil
}

// program is a running relay or baseline.
type program struct {
	cmd     *exec.Cmd
	address string
	log     bytes.Buffer
	done    chan struct{}
}

func start(address, bin string, args ...string) (*program, error) {
	p := &program{cmd: exec.Command(bin, args...), address: address, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // how it ended is not what is measured
	}()
	return p, nil
}

// ready waits until the program takes requests and says how long that took.
func (p *program) ready(ctx context.Context) (time.Duration, error) { return p.readyOver(ctx, nil) }

func (p *program) readyOver(ctx context.Context, config *tls.Config) (time.Duration, error) {
	begun, scheme := time.Now(), "http"
	client := &http.Client{Timeout: time.Second}
	if config != nil {
		scheme, client.Transport = "https", &http.Transport{TLSClientConfig: config}
	}
	defer client.CloseIdleConnections()
	for ctx.Err() == nil && time.Since(begun) < 2*time.Minute {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+p.address+"/readyz", nil)
		if err != nil {
			return 0, err
		}
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close() // only the status counts
			if resp.StatusCode == http.StatusOK {
				return time.Since(begun), nil
			}
		}
		select {
		case <-p.done:
			return 0, fmt.Errorf("%s ended: %s", p.cmd.Path, p.log.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return 0, fmt.Errorf("%s is not ready: %s", p.cmd.Path, p.log.String())
}

func (p *program) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		p.kill()
	}
}

func (p *program) kill() {
	_ = p.cmd.Process.Kill() // it may be gone
	<-p.done
}

// resident is the memory of the process in bytes, as the kernel counts it.
func (p *program) resident() (int64, error) { return p.memory("VmRSS:") }

// peak is the most it took since the last forgetPeak, in bytes.
func (p *program) peak() (int64, error) { return p.memory("VmHWM:") }

// memory is what the kernel's status of the process says, in bytes.
func (p *program) memory(field string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			var kib int64
			_, err := fmt.Sscan(rest, &kib)
			return kib << 10, err
		}
	}
	return 0, errors.New("no " + field)
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }() // only its number is wanted
	return l.Addr().String(), nil
}

// startRelay starts `serve` on a directory; its socket is in there.
func (b *bench) startRelay(dir string, args ...string) (*program, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return start(address, b.relay, append([]string{"serve", "--listen", address, "--state-dir", dir, "--log-level", "warn", "--log-format", "json"}, args...)...)
}

func (b *bench) startBaseline(dir string, always bool, streams int) (*program, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return start(address, b.baseline, "--dir", dir, fmt.Sprint("--always=", always), "--listen", address, "--streams", fmt.Sprint(streams))
}
