package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/theforeman/foreman-relay/broker"
)

// What the doctor takes for trouble at the disk.
const (
	slowSync    = 100 * time.Millisecond // p50 of a sync: a sender waits that long at least
	deadSync    = 5 * time.Second        // half of what a request may wait
	busyOthers  = 5                      // a sync of the filesystem against one of a file
	clockDrift  = 2 * time.Second        // of a file just written against this clock
	clockBack   = time.Minute            // of the newest file against this clock
	syncSamples = 40
	syncTime    = 3 * time.Second // for all samples of one kind
)

// examineDisk looks at the state directory and the filesystem under it.
func examineDisk(ctx context.Context, c Config, now time.Time) []finding {
	dir := c.StateDir
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		above := existing(dir)
		f := finding{Level: levelOK, Check: "state directory", Where: dir, What: "it is not there yet; serve makes it, and what follows is about " + above}
		return append([]finding{f}, examineFilesystem(ctx, c, above, now)...)
	} else if err != nil {
		return []finding{{Level: levelFail, Check: "state directory", Where: dir, What: err.Error(), Do: "choose another --state-dir, or let this user in"}}
	}
	return append([]finding{examineLock(dir)}, examineFilesystem(ctx, c, dir, now)...)
}

// existing is the nearest directory above that is there.
func existing(dir string) string {
	for {
		above := filepath.Dir(dir)
		if _, err := os.Stat(above); err == nil || above == dir {
			return above
		}
		dir = above
	}
}

func examineLock(dir string) finding {
	f := finding{Level: levelOK, Check: "state directory", Where: dir}
	who, err := broker.Holder(dir)
	switch {
	case err != nil:
		f.What = err.Error()
	case who == "":
		f.What = "no relay holds it"
	default:
		f.What = "held by " + who
	}
	return f
}

func examineFilesystem(ctx context.Context, c Config, dir string, now time.Time) []finding {
	facts, err := broker.Probe(dir)
	if err != nil {
		return []finding{{Level: levelFail, Check: "filesystem", Where: dir, What: err.Error(), Do: "choose another --state-dir"}}
	}
	durability, choice := examineDurability(c, dir, facts)
	all := append([]finding{durability, examineShare(dir, facts)}, examineSpace(c, dir)...)
	done := make(chan []finding, 1)
	go func() { done <- examineSyncs(dir, choice.Effective, now) }() // a disk that hangs holds it for ever
	select {
	case more := <-done:
		return append(all, more...)
	case <-ctx.Done():
		return append(all, finding{Level: levelFail, Check: "sync", Where: dir, What: "the disk did not answer in time",
			Do: "look at the kernel's log and at what else writes to this disk"})
	}
}

// examineDurability says what accepted means here.
func examineDurability(c Config, dir string, facts broker.Facts) (finding, broker.Choice) {
	f := finding{Level: levelOK, Check: "durability", Where: dir}
	choice, err := broker.Choose(broker.Mode(c.Durability), facts)
	if err != nil {
		f.Level, f.What = levelFail, err.Error()
		return f, choice
	}
	f.What = fmt.Sprintf("%s: %s", choice, choice.Reason)
	switch {
	case choice.Remedy != "":
		f.Level, f.Do = levelWarn, choice.Remedy
	case choice.Effective == broker.ModeOS:
		f.Level, f.Do = levelWarn, "choose --durability fsync if losing data at a power cut is not fine"
	}
	return f, choice
}

func examineShare(dir string, facts broker.Facts) finding {
	f := finding{Level: levelOK, Check: "filesystem", Where: dir, What: facts.FSType + " of its own, mounted at " + facts.MountPoint}
	if real, err := filepath.EvalSymlinks(dir); err == nil && real != facts.MountPoint && filepath.Dir(real) != facts.MountPoint || facts.MountPoint == "/" {
		f.What = facts.FSType + " shared with what else lies under " + facts.MountPoint
		f.Do = "a filesystem of its own is best: a sync waits for everybody's writes, and nobody else can fill it"
	}
	return f
}

func examineSpace(c Config, dir string) []finding {
	s, err := broker.DiskSpace(dir)
	if err != nil {
		return []finding{{Level: levelWarn, Check: "space", Where: dir, What: err.Error()}}
	}
	reserve := int64(c.Limits.Reserve)
	if reserve == 0 {
		reserve = broker.Reserve(s.Total)
	}
	space := finding{Level: levelOK, Check: "space", Where: dir, What: fmt.Sprintf("%s free of %s, reserve %s", mebibytes(s.Free), mebibytes(s.Total), mebibytes(reserve))}
	switch {
	case s.ReadOnly:
		space.Level, space.What, space.Do = levelFail, "the filesystem is read-only", "mount it writable; the kernel's log says if an error made it so"
	case s.Free < reserve:
		space.Level, space.Do = levelFail, "senders get 507 until there is space: make some, or enlarge the filesystem"
	case s.Free < 2*reserve:
		space.Level, space.Do = levelWarn, "make space before the reserve is reached: senders get 507 then"
	}
	inodes := finding{Level: levelOK, Check: "inodes", Where: dir, What: fmt.Sprintf("%d free of %d", s.FilesFree, s.Files)}
	if s.Files == 0 {
		inodes.What = "as many as there is space"
	} else if s.FilesFree < min(10_000, s.Files/10) {
		inodes.Level, inodes.Do = levelWarn, "remove files: without inodes the store cannot write although there is space"
	}
	return []finding{space, inodes}
}

func mebibytes(n int64) string {
	if n >= 10<<30 {
		return fmt.Sprintf("%d GiB", n>>30)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// examineSyncs writes a small file again and again and looks how long its syncs
// take, and at the clock.
func examineSyncs(dir string, mode broker.Mode, now time.Time) []finding {
	f, err := os.CreateTemp(dir, "doctor-")
	if err != nil {
		return []finding{{Level: levelFail, Check: "sync", Where: dir, What: "nothing can be written: " + err.Error(),
			Do: "let this user write there, or call the doctor as the user that the relay runs as"}}
	}
	defer func() {
		_ = f.Close() // it is removed
		_ = os.Remove(f.Name())
	}()
	file, err := measure(f, f.Sync)
	if err != nil {
		return []finding{{Level: levelFail, Check: "sync", Where: dir, What: err.Error(), Do: "look at the kernel's log: the disk may be full, or failing"}}
	}
	all := []finding{file.judge("sync", dir, "fsync of a file")}
	if mode == broker.ModeBarrier {
		all = append(all, examineBarrier(dir, f, file))
	}
	return append(all, examineClock(dir, f, now)...)
}

// examineBarrier measures what requests wait for, and whether others make it
// slow.
func examineBarrier(dir string, f *os.File, file latency) finding {
	broken := func(err error) finding {
		return finding{Level: levelFail, Check: "barrier", Where: dir, What: err.Error(), Do: "look at the kernel's log; the filesystem may be read-only"}
	}
	d, err := broker.OpenStateDir(dir)
	if err != nil {
		return broken(err)
	}
	defer func() { _ = d.Close() }() // only its descriptor is used
	whole, err := measure(f, broker.SyncFS(d))
	if err != nil {
		return broken(err)
	}
	return judgeBarrier(dir, whole, file)
}

// judgeBarrier holds a sync of the whole filesystem against one of a file.
func judgeBarrier(dir string, whole, file latency) finding {
	f := whole.judge("barrier", dir, "syncfs, which requests wait for,")
	if f.Level == levelOK && whole.p50 > busyOthers*file.p50 && whole.p50 > slowSync/5 {
		f.Level, f.Do = levelWarn, "others write to this filesystem, and their data is waited for: give the relay a filesystem of its own"
	}
	return f
}

// latency is what was measured.
type latency struct {
	p50, p99 time.Duration
	samples  int
}

// measure writes a page and calls sync, up to syncSamples times within syncTime.
func measure(f *os.File, sync func() error) (latency, error) {
	var took []time.Duration
	page := make([]byte, 4096)
	begin := time.Now()
	for len(took) < syncSamples && (len(took) == 0 || time.Since(begin) < syncTime) {
		if _, err := f.Write(page); err != nil { // at the end: a file that grows, as a journal does
			return latency{}, err
		}
		start := time.Now()
		if err := sync(); err != nil {
			return latency{}, err
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return latency{p50: took[len(took)/2], p99: took[(len(took)*99-1)/100], samples: len(took)}, nil
}

func (l latency) judge(check, dir, what string) finding {
	f := finding{Level: levelOK, Check: check, Where: dir,
		What: fmt.Sprintf("%s takes %v (p50), %v (p99), of %d", what, l.p50.Round(time.Microsecond), l.p99.Round(time.Microsecond), l.samples)}
	switch {
	case l.p50 > deadSync:
		f.Level, f.Do = levelFail, "requests run into their timeout of 10 s: use another disk"
	case l.p50 > slowSync:
		f.Level, f.Do = levelWarn, "every sender waits that long: use a faster disk, or one that nobody else keeps busy"
	}
	return f
}

// examineClock holds this machine's clock against the times of files: leases and
// retries go by it.
func examineClock(dir string, f *os.File, now time.Time) []finding {
	ok := finding{Level: levelOK, Check: "clock", Where: dir, What: "it agrees with the files"}
	if info, err := f.Stat(); err == nil {
		if d := time.Since(info.ModTime()); d < -clockDrift || d > clockDrift+syncTime*3 {
			ok.Level, ok.What = levelWarn, fmt.Sprintf("a file just written is %v off", d.Round(time.Second))
			ok.Do = "set the clocks of this machine and of the file server right (NTP)"
			return []finding{ok}
		}
	}
	newest := newestFile(dir)
	if ahead := newest.Sub(now); ahead > clockBack {
		ok.Level, ok.What = levelWarn, fmt.Sprintf("files of the state directory are %v in the future: the clock was set back", ahead.Round(time.Second))
		ok.Do = "set the clock right (NTP); ages and retry times are wrong until then"
	}
	return []finding{ok}
}

// newestFile is the time of the newest of the state directory's own files.
func newestFile(dir string) (newest time.Time) {
	for _, name := range []string{"lock", "durability", "instance"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	return newest
}
