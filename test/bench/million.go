package main

import (
	"fmt"
	"time"
)

// manyWaiting fills a queue whose Foreman is away, waits for the broker's write
// caches to go, kills the relay and starts it again.
func (b *bench) manyWaiting() error {
	dir, clean, err := b.fresh()
	defer clean()
	if err != nil {
		return err
	}
	nobody, err := freeAddress()
	if err != nil {
		return err
	}
	args := []string{"--durability", "fsync", "--foreman-url", "http://" + nobody}
	p, err := b.startRelay(dir, args...)
	if err != nil {
		return err
	}
	defer func() { p.kill() }()
	if _, err := p.ready(b.keepGoing); err != nil {
		return err
	}
	begun := time.Now()
	n, err := b.post(p, 1<<10, b.million)
	if err != nil {
		return err
	}
	fmt.Printf("%d messages in %v\n\n", n, time.Since(begun).Round(time.Second))
	fmt.Println("| | MiB resident |\n|---|---|")
	if err := printResident("just after the load", p); err != nil {
		return err
	}
	time.Sleep(20 * time.Second) // the broker drops its write caches after some ten
	if err := printResident("20 s later", p); err != nil {
		return err
	}
	p.kill()
	if p, err = b.startRelay(dir, args...); err != nil {
		return err
	}
	took, err := p.ready(b.keepGoing)
	if err != nil {
		return err
	}
	if err := printResident("just after the start", p); err != nil {
		return err
	}
	time.Sleep(20 * time.Second)
	if err := printResident("20 s later", p); err != nil {
		return err
	}
	fmt.Printf("\nready %.1f s after the start that followed SIGKILL\n", took.Seconds())
	return nil
}

func printResident(when string, p *program) error {
	n, err := p.resident()
	fmt.Printf("| %s | %d |\n", when, n>>20)
	return err
}
