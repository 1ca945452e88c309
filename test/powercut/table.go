package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// table prints what the cuts of a mode came to, and adds it up.
type table struct {
	cuts, acked, lost, broken int
}

const told = 3 // losses of a cut that are told one by one

func (t *table) head(mode string) {
	fmt.Printf("\n%s: one disk, its power cut again and again\n", mode)
	fmt.Println("cut  answered  in effect      cut after  sectors unflushed, kept  then missing  ledger    then found")
}

func (t *table) row(number int, cut, after *visit) {
	t.cuts++
	t.acked += len(cut.acked)
	lost, ledger := len(after.lost), "balances"
	if after.failed != "" {
		lost, ledger = len(cut.acked), "gone"
	} else if after.ledger != "" {
		ledger = "BROKEN"
	}
	t.lost += lost
	if !after.intact() {
		t.broken++
	}
	var found []string
	for _, state := range slices.Sorted(maps.Keys(after.states)) {
		found = append(found, fmt.Sprint(after.states[state], " ", state))
	}
	if after.again+after.doubt > 0 {
		found = append(found, fmt.Sprintf("%d delivered again, %d named", after.again, after.doubt))
	}
	fmt.Printf("%3d  %8d  %-13s  %8s  %17d, %4d  %12d  %-8s  %s\n", number, len(cut.acked), strings.Join(cut.effective, ","),
		cut.after.Round(10*time.Millisecond), cut.unflushed, cut.kept, lost, ledger, strings.Join(found, ", "))
	for _, n := range after.lost[:min(told, len(after.lost))] {
		fmt.Printf("     missing %s: %s\n", n.Stored.ID, n.Text)
	}
	for _, text := range []string{after.ledger, after.failed} {
		if text != "" {
			fmt.Println("    ", text)
		}
	}
}

func (t *table) sum(mode string) {
	fmt.Printf("%s: %d cuts, %d answered, %d of them missing afterwards\n", mode, t.cuts, t.acked, t.lost)
}

// verdict is what is wrong with the mode, or with the test.
func (t *table) verdict(loses bool) string {
	switch {
	case t.acked == 0:
		return "nothing was answered, so nothing was shown"
	case loses && t.lost == 0:
		return "nothing was lost, so this test cannot see losses"
	case !loses && t.broken > 0:
		return fmt.Sprintf("%d of %d cuts lost something", t.broken, t.cuts)
	}
	return ""
}
