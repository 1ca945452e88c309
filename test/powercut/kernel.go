package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// wantedModules are what the machine's devices need of Debian's cloud kernel,
// which has ext4 built in. What is built in has no file and is passed over.
var wantedModules = []string{"virtio_pci", "virtio_blk", "virtio_console", "crc32c_generic", "ext4"}

// kernel is an unpacked Debian package.
type kernel struct {
	image   string
	modules []string // paths, each after those that it needs
}

func findKernel(dir string) (*kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil {
		return nil, err
	}
	if len(images) == 0 {
		return nil, fmt.Errorf("no kernel in %s: run test/powercut/install, which unpacks Debian's", dir)
	}
	files := map[string]string{}
	err = filepath.WalkDir(filepath.Join(dir, "lib", "modules"), func(path string, _ fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			files[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	k := &kernel{image: images[len(images)-1]}
	for _, name := range wantedModules {
		if err := k.add(files, name); err != nil {
			return nil, err
		}
	}
	if len(k.modules) == 0 {
		return nil, errors.New("none of the kernel's modules was found: are they compressed? (they have to end in .ko)")
	}
	return k, nil
}

// add adds a module after those that it says it needs.
func (k *kernel) add(files map[string]string, name string) error {
	path, ok := files[name]
	if !ok {
		return nil
	}
	for _, have := range k.modules {
		if have == path {
			return nil
		}
	}
	needs, err := moduleNeeds(path)
	if err != nil {
		return err
	}
	for _, need := range needs {
		if err := k.add(files, need); err != nil {
			return err
		}
	}
	k.modules = append(k.modules, path)
	return nil
}

// moduleNeeds reads what depmod reads, which has not run on an unpacked package.
func moduleNeeds(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", path, err)
	}
	defer func() { _ = f.Close() }() // only read
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("module %s says nothing about itself", path)
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", path, err)
	}
	for field := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := bytes.CutPrefix(field, []byte("depends=")); ok && len(list) > 0 {
			return strings.Split(strings.ReplaceAll(string(list), "-", "_"), ","), nil
		}
	}
	return nil, nil
}
