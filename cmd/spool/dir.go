package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/theforeman/foreman-relay/relay"
)

// Imported is where what was taken over goes, below the spool directory.
const Imported = "imported"

// maxNames bounds the names that are read of one directory: they are sorted in
// memory, some 100 bytes each.
const maxNames = 2 << 20

// Errors of single files and directories.
var (
	// ErrForeign: it is not what has its place here in a spool.
	ErrForeign = errors.New("nothing of this spool's")
	// ErrTooLarge: it is larger than the relay takes.
	ErrTooLarge = errors.New("too large")
)

// Dir is a spool directory.
type Dir struct {
	path string
	root *os.Root
	max  int // names of a directory
}

// Open opens a spool directory.
func Open(path string) (*Dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("the spool directory cannot be opened: %w", err)
	}
	return &Dir{path: path, root: root, max: maxNames}, nil
}

// Close closes it.
func (d *Dir) Close() { _ = d.root.Close() } // nothing was written through it

// Has says whether there is a directory of this name, for example to see whether
// this is a spool at all.
func (d *Dir) Has(name string) bool {
	info, err := d.root.Lstat(name)
	return err == nil && info.IsDir()
}

// names are those in a directory, sorted; none where there is no such directory.
func (d *Dir) names(dir string) ([]string, error) {
	f, _, err := d.open(dir, fs.FileMode.IsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	names, err := f.Readdirnames(d.max + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(names) > d.max {
		return nil, fmt.Errorf("it holds more than %d files, the most that are put in order: move some of them to a directory of their own and import that too", d.max)
	}
	slices.Sort(names)
	return names, nil
}

// open opens a file or directory whose mode is of a kind, without following a
// link anywhere below the spool directory.
func (d *Dir) open(name string, kind func(fs.FileMode) bool) (*os.File, fs.FileInfo, error) {
	for i := range name {
		if name[i] != '/' {
			continue
		}
		if _, err := d.look(name[:i], fs.FileMode.IsDir); err != nil {
			return nil, nil, err
		}
	}
	seen, err := d.look(name, kind)
	if err != nil {
		return nil, nil, err
	}
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // what has become a pipe since must not block
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(seen, info) {
		err = fmt.Errorf("%w: it was exchanged while it was opened", ErrForeign)
	}
	if err != nil {
		_ = f.Close() // the other error is the one to tell
		return nil, nil, err
	}
	return f, info, nil
}

func (d *Dir) look(name string, kind func(fs.FileMode) bool) (fs.FileInfo, error) {
	info, err := d.root.Lstat(name)
	if err == nil && !kind(info.Mode()) {
		err = fmt.Errorf("%w: %s", ErrForeign, describe(info.Mode()))
	}
	return info, err
}

func describe(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "a symbolic link, which is not followed"
	case m.IsDir():
		return "a directory"
	case m.IsRegular():
		return "a file where directories are"
	default:
		return "a special file, which is not read"
	}
}

// File is the content of a file, and which file that was.
type File struct {
	Name string // below the spool directory
	Body []byte
	info fs.FileInfo
}

// Read reads a file of at most limit bytes. ErrForeign, ErrTooLarge, or
// fs.ErrNotExist where another has taken it since.
func (d *Dir) Read(name string, limit int64) (*File, error) {
	f, info, err := d.open(name, fs.FileMode.IsRegular)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	if info.Size() > limit {
		return nil, fmt.Errorf("%w: %d bytes, and %d are taken at most", ErrTooLarge, info.Size(), limit)
	}
	body, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(body)) > limit {
		err = fmt.Errorf("%w: it grows, and %d bytes are taken at most", ErrTooLarge, limit)
	}
	return &File{Name: name, Body: body, info: info}, err
}

// Prepare makes the place for what was taken over, to see early that it can be
// made.
func (d *Dir) Prepare() error { return d.mkdirs(Imported) }

// Move moves a file that was taken over out of the old proxy's reach, to the
// same path below Imported, and returns when that would survive a power cut. A
// file that is another one by now stays. fs.ErrNotExist: another has taken it.
func (d *Dir) Move(f *File) error {
	info, err := d.root.Lstat(f.Name)
	if err != nil {
		return err
	}
	if !os.SameFile(info, f.info) {
		return errors.New("it was exchanged after it was read")
	}
	to := path.Join(Imported, f.Name)
	if err := d.mkdirs(path.Dir(to)); err != nil {
		return err
	}
	if err := d.free(to, f); err != nil {
		return err
	}
	if err := d.root.Rename(f.Name, to); err != nil {
		return err
	}
	return errors.Join(d.sync(path.Dir(to)), d.sync(path.Dir(f.Name)))
}

// free says why a file cannot go to a name: another one has it, and would be
// lost.
func (d *Dir) free(to string, f *File) error {
	other, err := d.Read(to, int64(len(f.Body)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && relay.DigestOf(other.Body) == relay.DigestOf(f.Body):
		return nil
	default:
		return fmt.Errorf("another file has its name in %s", Imported)
	}
}

// mkdirs makes a directory and those above it; each is on the disk before
// anything is moved into it. They hold reports, so they are the owner's alone.
func (d *Dir) mkdirs(dir string) error {
	made := "."
	for _, part := range strings.Split(dir, "/") {
		above := made
		made = path.Join(above, part)
		err := d.root.Mkdir(made, 0o700)
		switch {
		case errors.Is(err, fs.ErrExist):
			if _, err = d.look(made, fs.FileMode.IsDir); err != nil {
				return fmt.Errorf("%s: %w", made, err)
			}
		case err != nil:
			return err
		default:
			if err := d.sync(above); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Dir) sync(dir string) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
