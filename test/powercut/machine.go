package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// machine is an emulated computer that is switched on.
type machine struct {
	cmd   *exec.Cmd
	power *Disk     // which goes with the machine's
	notes chan note // closed when the machine is off and all that it said was read
	disk  net.Listener
	port  net.Listener
	off   sync.WaitGroup
	err   error // of the disk; after off
}

// consoleName is a file in a machine's directory.
const consoleName = "console"

// maxNote bounds a line of the machine's, in bytes.
const maxNote = 1 << 20

// switchOn boots a kernel with an initrd in dir, on a disk. The notes must be
// read to their end.
func switchOn(ctx context.Context, dir, image, initrd string, d *Disk) (*machine, error) {
	m := &machine{notes: make(chan note), power: d}
	var err error
	if m.disk, err = net.Listen("unix", filepath.Join(dir, "disk.sock")); err != nil {
		return nil, err
	}
	if m.port, err = net.Listen("unix", filepath.Join(dir, "port.sock")); err != nil {
		return nil, errors.Join(err, m.disk.Close())
	}
	m.cmd = exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", "tcg", // a /dev/kvm may be there and hang
		"-cpu", "max", "-smp", "1", "-m", "512", "-nodefaults", "-no-reboot", "-display", "none",
		"-kernel", image, "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1 rdinit=/init -- "+guestWord,
		"-serial", "file:"+filepath.Join(dir, consoleName),
		"-blockdev", "driver=nbd,node-name=disk,server.type=unix,server.path="+filepath.Join(dir, "disk.sock"),
		"-device", "virtio-blk-pci,drive=disk,write-cache=on", // so that the kernel asks for flushes
		"-chardev", "socket,id=port,path="+filepath.Join(dir, "port.sock"),
		"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=port,name=port")
	m.cmd.Stderr = os.Stderr
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("qemu: %w: run test/powercut/install", err), m.disk.Close(), m.port.Close())
	}
	m.off.Go(func() { m.err = m.serveDisk(d) })
	m.off.Go(m.awaitEnd)
	go m.listen()
	return m, nil
}

// cut cuts the power, in the middle of whatever the machine does: the disk's
// first, so that it finishes nothing that the emulator still asks for.
func (m *machine) cut() {
	m.power.SwitchOff()
	_ = m.cmd.Process.Kill() // it may be off already
}

// wait waits for the end; an error is one of the disk's connection.
func (m *machine) wait() error {
	m.off.Wait()
	return m.err
}

func (m *machine) awaitEnd() {
	_ = m.cmd.Wait() // it is killed, usually
	_, _ = m.disk.Close(), m.port.Close()
}

func (m *machine) serveDisk(d *Disk) error {
	conn, err := m.disk.Accept()
	if err != nil {
		return nil // it was closed: the machine is off already
	}
	defer func() { _ = conn.Close() }() // the machine is gone
	return ServeNBD(conn, d)
}

// listen passes on what the machine says until it is off.
func (m *machine) listen() {
	defer close(m.notes)
	conn, err := m.port.Accept()
	if err != nil {
		return // it was closed: the machine is off already
	}
	defer func() { _ = conn.Close() }() // only read
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxNote)
	for lines.Scan() {
		var n note
		if err := json.Unmarshal(lines.Bytes(), &n); err != nil {
			continue // the cut went through the line
		}
		m.notes <- n
	}
}
