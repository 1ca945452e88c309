package relay

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Limits of the history that a letter keeps. The events it comes from are
// trimmed long before the letter.
const (
	MaxHistory       = 50       // events; of more, the oldest are dropped
	maxHistoryDetail = 256      // bytes of each one's detail; the last answer has its own
	maxHistoryBytes  = 12 << 10 // as stored
	maxHistoryPlain  = 1 << 20  // as read
)

// History is what happened to a message before it became a letter, in order, the
// end of its way included.
type History struct {
	Events  []EventStatus `json:"events"`
	Dropped int           `json:"dropped,omitempty"` // older events, at least
}

// Add takes the next event and drops the oldest of too many.
func (h *History) Add(e EventStatus) {
	if len(e.Detail) > maxHistoryDetail {
		e.Detail = cutText(e.Detail, maxHistoryDetail)
	}
	h.Events = append(h.Events, e)
	if len(h.Events) > MaxHistory {
		h.drop(1)
	}
}

func (h *History) drop(n int) {
	h.Events = append(h.Events[:0], h.Events[n:]...)
	h.Dropped += n
}

// Encode is the history as a letter keeps it, of at most so many bytes and never
// more than 12 KiB: the oldest events go first. Empty where nothing fits.
func (h *History) Encode(atMost int) (string, error) {
	kept := History{Events: append([]EventStatus(nil), h.Events...), Dropped: h.Dropped}
	if more := len(kept.Events) - MaxHistory; more > 0 {
		kept.drop(more)
	}
	for len(kept.Events) > 0 {
		text, err := kept.pack()
		if err != nil || len(text) <= min(atMost, maxHistoryBytes) {
			return text, err
		}
		kept.drop((len(kept.Events) + 3) / 4)
	}
	return "", nil
}

func (h *History) pack() (string, error) {
	plain, err := json.Marshal(h)
	if err != nil {
		return "", err
	}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestSpeed)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(plain); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return base64.RawStdEncoding.EncodeToString(packed.Bytes()), nil
}

// DecodeHistory is the inverse of Encode.
func DecodeHistory(text string) (*History, error) {
	packed, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("history is not base64: %w", err)
	}
	plain, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), maxHistoryPlain))
	if err != nil {
		return nil, fmt.Errorf("history cannot be unpacked: %w", err)
	}
	h := &History{}
	if err := json.Unmarshal(plain, h); err != nil {
		return nil, fmt.Errorf("history is not JSON: %w", err)
	}
	return h, nil
}

// cutText cuts text to so many bytes, on a whole character.
func cutText(s string, most int) string {
	const more = "…"
	return strings.ToValidUTF8(s[:most-len(more)], "") + more
}
