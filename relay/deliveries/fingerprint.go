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
// at, 14 lookups in a million are wrong when it is full. Each of those costs
// reading the file.
const (
	bitsEach = 24
	probes   = 12
)

// filter says of a fingerprint that it is surely not there, or that it may be; an
// empty one that none is there.
type filter []uint64

func newFilter(fingerprints int) filter { return make(filter, (fingerprints*bitsEach+63)/64) }

// room is how many fingerprints it is made for.
func (f filter) room() int { return len(f) * 64 / bitsEach }

func (f filter) add(p fingerprint) {
	h, step, size := p.start(), p.step(), uint64(len(f))*64
	for range probes {
		i, _ := bits.Mul64(h, size) // h of 2^64 parts, scaled to size
		f[i/64] |= 1 << (i % 64)
		h += step
	}
}

func (f filter) mayHave(p fingerprint) bool {
	if len(f) == 0 {
		return false
	}
	h, step, size := p.start(), p.step(), uint64(len(f))*64
	for range probes {
		i, _ := bits.Mul64(h, size)
		if f[i/64]&(1<<(i%64)) == 0 {
			return false
		}
		h += step
	}
	return true
}

func (p fingerprint) start() uint64 { return binary.LittleEndian.Uint64(p[:8]) }
func (p fingerprint) step() uint64  { return binary.LittleEndian.Uint64(p[8:]) | 1 }
