package main

import (
	"fmt"
	"io"
	"os"
)

// initrd writes a cpio archive (newc), which the kernel unpacks into memory as
// its first filesystem. It is not compressed: the emulated machine is slow, the
// host's memory is not.
type initrd struct {
	w      io.Writer
	number int
	err    error // the first; nothing is written after it
}

// add adds an executable file. Directories must be added before what is in them.
func (a *initrd) add(name string, content []byte) { a.entry(name, 0o100755, content) }

func (a *initrd) mkdir(name string) { a.entry(name, 0o040755, nil) }

func (a *initrd) addFile(name, path string) {
	content, err := os.ReadFile(path)
	if a.err == nil {
		a.err = err
	}
	a.add(name, content)
}

// close ends the archive.
func (a *initrd) close() error {
	a.entry("TRAILER!!!", 0, nil)
	return a.err
}

func (a *initrd) entry(name string, mode int, content []byte) {
	if a.err != nil {
		return
	}
	a.number++
	// inode mode uid gid links mtime size, device and what it is a device of, length of the name, checksum
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
	for _, part := range [][]byte{[]byte(header), content} {
		padded := append(part[:len(part):len(part)], make([]byte, -len(part)&3)...)
		if _, err := a.w.Write(padded); err != nil {
			a.err = err
			return
		}
	}
}
