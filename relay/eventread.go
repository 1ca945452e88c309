package relay

import (
	"bytes"
	"strconv"
)

// read reads what encoding/json writes of a wireEvent, which is nearly all that
// is ever read: an event a message, by the edge, by audits and at each start. The
// decoder takes ten times as long. False for anything else, a text with an escape
// in it for one: the decoder has the last word, and the event is to be thrown away.
func (w *wireEvent) read(b []byte) bool {
	b, ok := bytes.CutPrefix(b, []byte("{"))
	for ok {
		if len(b) < 5 || b[0] != '"' || b[2] != '"' || b[3] != ':' {
			return false
		}
		key, rest := b[1], b[4:]
		end := bytes.IndexAny(rest, ",}")
		if rest[0] == '"' {
			end = bytes.IndexByte(rest[1:], '"') + 2 // a comma may be within
		}
		if end < 1 || end >= len(rest) || !w.set(key, rest[:end]) {
			return false
		}
		if b = rest[end+1:]; rest[end] == '}' {
			return len(b) == 0
		}
		ok = rest[end] == ','
	}
	return false
}

// set takes one value as it is written.
func (w *wireEvent) set(key byte, value []byte) (ok bool) {
	switch key {
	case 's':
		w.Sequence, ok = unsigned(value)
	case 'i':
		w.ID, ok = unquoted(value)
	case 'o':
		var state string
		state, ok = unquoted(value)
		w.State = State(state)
	case 'a':
		w.Attempt, ok = number(value)
	case 'c':
		w.Status, ok = number(value)
	case 'e':
		w.Epoch, ok = unsigned(value)
	case 'u':
		w.Run, ok = unsigned(value)
	case 'k':
		w.Keyed = true
		ok = string(value) == "true"
	}
	return ok // no other is in the event of a first attempt that delivers
}

func number(value []byte) (int, bool) {
	n, err := strconv.Atoi(string(value))
	return n, err == nil && value[0] != '+' && (value[0] != '0' || len(value) == 1)
}

func unsigned(value []byte) (uint64, bool) {
	n, err := strconv.ParseUint(string(value), 10, 64)
	return n, err == nil && (value[0] != '0' || len(value) == 1)
}

// unquoted is a text in quotes that says what it says.
func unquoted(value []byte) (string, bool) {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return "", false
	}
	text := value[1 : len(value)-1]
	for _, c := range text {
		if c < ' ' || c >= 0x7f || c == '\\' || c == '"' {
			return "", false
		}
	}
	return string(text), true
}
