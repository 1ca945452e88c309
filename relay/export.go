package relay

import (
	"time"
	"unicode/utf8"
)

// ExportVersion is written into every exported letter; an import refuses what it
// does not know.
const ExportVersion = 1

// MaxExportBody bounds the body of an exported letter, MaxExportLine the letter
// as JSON, in bytes: the body in base64, its envelope, and some room.
const (
	MaxExportBody = 64 << 20
	MaxExportLine = MaxExportBody/3*4 + 8<<20
)

// ExportedLetter is a dead letter with all that makes it, so that it can be made
// again: the envelope as it is stored, the body byte for byte. Its sequence is
// not in it, that is the journal's.
type ExportedLetter struct {
	Version  int       `json:"version"`
	ID       string    `json:"id"`
	Queue    Queue     `json:"queue"`
	Reason   string    `json:"reason"`
	DiedAt   time.Time `json:"died_at"`
	Attempts int       `json:"attempts"`
	Status   int       `json:"status,omitempty"`
	Detail   string    `json:"detail,omitempty"`
	History  *History  `json:"history,omitempty"`

	Envelope map[string]string `json:"envelope"` // names and values as stored
	Text     *string           `json:"body,omitempty"`
	Base64   []byte            `json:"body_base64,omitempty"` // of a body that is no text
}

// SetBody takes a body: text as it is, anything else as base64.
func (x *ExportedLetter) SetBody(body []byte) {
	x.Text, x.Base64 = nil, nil
	if text := string(body); utf8.Valid(body) && readable(text) {
		x.Text = &text
		return
	}
	x.Base64 = body
}

// readable text grows little as JSON; control characters are six bytes each there.
func readable(s string) bool {
	odd := 0
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\n' && s[i] != '\t' && s[i] != '\r' {
			odd++
		}
	}
	return odd <= len(s)/64
}

// Body is what SetBody was given.
func (x *ExportedLetter) Body() []byte {
	if x.Text != nil {
		return []byte(*x.Text)
	}
	return x.Base64
}

// ImportedLetter says what became of an exported one.
type ImportedLetter struct {
	ID    string `json:"id"`
	Queue Queue  `json:"queue"`
	// Known: the very letter was there already; nothing was changed.
	Known    bool   `json:"known"`
	Sequence uint64 `json:"sequence"` // in the journal
}

// CheckLetter refuses a reason that no letter has.
func CheckLetter(reason string) error {
	if !fitting(Dead, reason) {
		return Refuse(CodeInvalid, "%q is no reason of a dead letter; see docs/dead-letters.md", reason)
	}
	return nil
}
