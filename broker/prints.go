package broker

import (
	"context"
	"strings"
)

// prints holds 32 bits of the id of each message in a part of a journal, so that
// a million of them take 4 MB. Two ids have the same in one case of 4 billion;
// then one event of a wrong message would go unseen.
type prints struct {
	from uint64
	of   []uint32 // by sequence, from from on
}

// maxPrints bounds the messages of one queue that an audit looks at one by one,
// 64 MB of memory: the newest.
const maxPrints = 1 << 24

const (
	printAbsent = 0
	printVoid   = 1 // holds the place of a message that a power cut took (mend.go)
)

// newPrints has room for the sequences from first to last, of at most so many
// the last.
func newPrints(first, last uint64, most int) prints {
	if last < first {
		return prints{from: first}
	}
	n := min(last-first+1, uint64(most))
	return prints{from: last - n + 1, of: make([]uint32, n)}
}

// printOf is FNV-1a, without the allocation of a hash.Hash.
func printOf(id string) uint32 {
	h := uint32(2166136261)
	for i := range len(id) {
		h = (h ^ uint32(id[i])) * 16777619
	}
	return max(h, printVoid+1)
}

func (p *prints) set(sequence uint64, print uint32) {
	if i := sequence - p.from; sequence >= p.from && i < uint64(len(p.of)) {
		p.of[i] = print
	}
}

// differs says that another message than this one is at a sequence.
func (p *prints) differs(sequence uint64, id string) bool {
	i := sequence - p.from
	if id == "" || sequence < p.from || i >= uint64(len(p.of)) {
		return false
	}
	print := p.of[i]
	return print > printVoid && print != printOf(id)
}

// absent visits the sequences at which no message is.
func (p *prints) absent(visit func(sequence uint64)) {
	for i, print := range p.of {
		if print == printAbsent {
			visit(p.from + uint64(i))
		}
	}
}

// readMessages looks at every message that an event since the base can be about.
func (a *auditor) readMessages(ctx context.Context) error {
	first := max(a.journal.FirstSeq, a.base.Floor()+1)
	a.messages = newPrints(first, a.journal.LastSeq, maxPrints)
	if left := a.messages.from; left > first {
		a.note(0, "", "only the newest %d messages were looked at one by one, those from sequence %d on", maxPrints, left)
	}
	if len(a.messages.of) == 0 {
		return nil
	}
	return a.b.walk(ctx, journalStream(a.queue), nil, a.messages.from, func(s *stored) bool {
		if s.sequence > a.journal.LastSeq {
			return false
		}
		a.MessagesRead++
		a.messages.set(s.sequence, printOfSubject(s.subject))
		return true
	})
}

// printOfSubject reads the id from the subject of a message.
func printOfSubject(subject string) uint32 {
	name, err := parseMessageSubject(subject)
	switch {
	case err != nil:
		return printOf(strings.ToUpper(subject)) // no id is like it
	case name.route == voidRoute:
		return printVoid
	}
	return printOf(name.id)
}
