package deliveries

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"github.com/theforeman/foreman-relay/relay"
)

// fingerprintSize is that of a delivery on the disk, in bytes.
const fingerprintSize = 16

// kind is what is kept of a message.
type kind byte

const (
	isDelivered kind = 'd'
	hasBegun    kind = 'b' // an attempt that must not be made twice
	hasEnded    kind = 'e' // and the destination does not have the message
)

// fingerprint stands for a message, its body and a kind: half a SHA-256. Nobody meets
// another message's by chance, nor does a torn or overwritten place on the disk.
// The message's place in its journal is left out: one that a power cut took from
// the edge, and that its sender sends again, has another.
type fingerprint [fingerprintSize]byte

func fingerprintOf(k kind, m *relay.Message) fingerprint {
	text := make([]byte, 0, 128) // an id and a digest fit: no allocation
	text = append(text, byte(k))
	text = append(text, m.ID...)
	text = append(text, 0)
	text = append(text, m.Digest...)
	sum := sha256.Sum256(text)
	return fingerprint(sum[:fingerprintSize])
}

// The filter's numbers: with 24 bits for each fingerprint and 12 of them looked
// at, about 2 lookups in 100 000 are wrong when it is full. Each of those costs
// reading the file. The first few bits lie in one line of the processor's cache,
// and are enough for nearly all that is not there.
const (
	bitsEach = 24
	near     = 4 // bits looked at within a line
	far      = 8 // and anywhere
	line     = 8 // words
)

// filter says of a fingerprint that it is surely not there, or that it may be; an
// empty one that none is there.
type filter []uint64

func newFilter(fingerprints int) filter {
	words := (fingerprints*bitsEach + 63) / 64
	return make(filter, (words+line-1)/line*line)
}

// room is how many fingerprints it is made for.
func (f filter) room() int { return len(f) * 64 / bitsEach }

func (f filter) add(p fingerprint) {
	f.each(p, func(word *uint64, bit uint64) bool {
		*word |= bit
		return true
	})
}

func (f filter) mayHave(p fingerprint) bool {
	return len(f) > 0 && f.each(p, func(word *uint64, bit uint64) bool { return *word&bit != 0 })
}

// each calls visit for the bits of a fingerprint until it says false, and says
// whether it never did.
func (f filter) each(p fingerprint, visit func(word *uint64, bit uint64) bool) bool {
	h, step := binary.LittleEndian.Uint64(p[:8]), binary.LittleEndian.Uint64(p[8:])
	first, _ := bits.Mul64(h, uint64(len(f)/line)) // h of 2^64 parts, scaled to the number of lines
	place := f[first*line : (first+1)*line]
	for i := range near {
		at := step >> (9 * i) % (line * 64)
		if !visit(&place[at/64], 1<<(at%64)) {
			return false
		}
	}
	for range far {
		h += step | 1
		at, _ := bits.Mul64(h, uint64(len(f))*64)
		if !visit(&f[at/64], 1<<(at%64)) {
			return false
		}
	}
	return true
}
