package relay

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
)

// Tokens are short hashes that stand for names in subjects and ids: every
// subject costs the broker memory, and a name may hold what a subject may not.
// Lower-case base32, so that they are one word to a shell, a URL and a mouse.
var tokenEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

const (
	queueTokenLen = 8  // 40 bits: thousands of queues
	laneTokenLen  = 12 // 60 bits: a collision only makes two hosts take turns
	idTokenLen    = 24 // 120 bits: nobody may find two keys with one id
	idLen         = queueTokenLen + 1 + idTokenLen
)

// token hashes parts, divided by lengths that cannot be imitated, to n letters.
// It is made several times for every message: nothing of it but the letters comes
// from the heap, unless the parts are long.
func token(n int, parts ...string) string {
	var room [512]byte
	hashed := room[:0]
	for _, p := range parts {
		hashed = binary.LittleEndian.AppendUint64(hashed, uint64(len(p)))
		hashed = append(hashed, p...)
	}
	sum := sha256.Sum256(hashed)
	var letters [56]byte // of all 32 bytes
	tokenEncoding.Encode(letters[:], sum[:(n*5+7)/8])
	return string(letters[:n])
}

// Token stands for the queue in subjects, stream names and message ids.
func (q Queue) Token() string { return token(queueTokenLen, "queue", q.Organization, q.Destination) }

// LaneToken stands for a lane in subjects. A message without an ordering key
// has a lane of its own.
func LaneToken(lane, id string) string {
	if lane == "" {
		return token(laneTokenLen, "own", id)
	}
	return token(laneTokenLen, "lane", lane)
}

// KeyedID is the id of a message with an idempotency key: the same for the same
// organization, destination and key, so that the broker itself refuses the
// second one.
func KeyedID(q Queue, key string) string {
	return q.Token() + "-" + token(idTokenLen, "key", q.Organization, q.Destination, key)
}

// ReplayID is the id under which a dead letter is accepted again: another one
// than any key gives, and the same however often the replay is asked for.
func ReplayID(q Queue, letter string) string {
	return q.Token() + "-" + token(idTokenLen, "replay", letter)
}

// FreshID is the id of a message without a key.
func FreshID(q Queue) string {
	return q.Token() + "-" + tokenEncoding.EncodeToString(randomBytes(15))
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // crypto/rand.Read never fails; it ends the process instead
	return b
}

// ParseID divides a public id into the tokens of its queue and of itself.
func ParseID(id string) (queue, own string, ok bool) {
	if len(id) != idLen || id[queueTokenLen] != '-' {
		return "", "", false
	}
	queue, own = id[:queueTokenLen], id[queueTokenLen+1:]
	return queue, own, isToken(queue) && isToken(own)
}

func isToken(s string) bool {
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == "" && s != ""
}

// DigestOf is the SHA-256 of a body, hexadecimal.
func DigestOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// UUID is an id in the shape of a UUID, for clients that know no other: version
// 8 (RFC 9562), the same for the same id.
func UUID(id string) string {
	sum := sha256.Sum256([]byte(id))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	h := hex.EncodeToString(sum[:16])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Digits is an id in decimal, for clients that know no other: 1 to 15 digits, so
// that no reader of JSON rounds it, and the same for the same id.
func Digits(id string) string {
	sum := sha256.Sum256([]byte(id))
	return strconv.FormatUint(binary.BigEndian.Uint64(sum[:8])%1e15, 10)
}
