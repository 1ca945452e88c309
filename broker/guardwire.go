package broker

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/theforeman/foreman-relay/relay"
)

// errForbidden: a drain said what a drain does not say.
var errForbidden = errors.New("it was cut off")

func forbidden(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errForbidden, fmt.Sprintf(format, args...))
}

const (
	// maxGreeting bounds the first line of either side, in bytes.
	maxGreeting = 64 << 10
	// maxDrainHeader bounds the headers of a message of a drain, in bytes.
	maxDrainHeader = 64 << 10
)

// wire carries the protocol between a drain and the broker inside. What the drain
// says is read strictly and written anew, so that both ends read the same; what the
// broker says goes through as it is.
type wire struct {
	outside net.Conn // the drain
	inside  net.Conn // the broker
	user    nkeys.KeyPair
	inbox   string                                  // how every reply subject of the drain begins
	events  string                                  // how the subject of every event of the drain begins
	event   func(subject string, data []byte) error // says why an event is none of a drain's

	from *bufio.Reader // of the drain
	to   *bufio.Writer // to the broker
}

// run carries both ways until one side ends.
func (w *wire) run() error {
	deadline := time.Now().Add(handshakeTimeout)
	_, _ = w.outside.SetDeadline(deadline), w.inside.SetDeadline(deadline) // a connection that is closed says so below
	answers := bufio.NewReaderSize(w.inside, maxGreeting)
	w.from, w.to = bufio.NewReaderSize(w.outside, maxGreeting), bufio.NewWriterSize(w.inside, maxGreeting)
	if err := w.greet(answers); err != nil {
		return err
	}
	_, _ = w.outside.SetDeadline(time.Time{}), w.inside.SetDeadline(time.Time{})
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = answers.WriteTo(prompt{w.outside}) // an end, however it comes
		_, _ = w.outside.Close(), w.inside.Close()
	})
	err := w.forward()
	_, _ = w.outside.Close(), w.inside.Close()
	back.Wait()
	return err
}

// prompt is a connection whose other side has to read.
type prompt struct{ net.Conn }

func (p prompt) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(writeDeadline)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}

// greet passes the broker's INFO on and answers it for the drain, whose own
// credentials, if it gives any, go nowhere.
func (w *wire) greet(answers *bufio.Reader) error {
	line, err := answers.ReadSlice('\n')
	if err != nil {
		return err
	}
	info, nonce, err := publicInfo(line)
	if err != nil {
		return err
	}
	if _, err := w.outside.Write(info); err != nil {
		return err
	}
	if line, err = w.from.ReadSlice('\n'); err != nil {
		return err
	}
	said, found := bytes.CutPrefix(bytes.TrimRight(line, "\r\n"), []byte("CONNECT "))
	var hello struct {
		Name string `json:"name"`
	}
	if !found || json.Unmarshal(said, &hello) != nil {
		return forbidden("its first word is not CONNECT")
	}
	connect, err := w.connect(hello.Name, nonce)
	if err != nil {
		return err
	}
	_, err = w.to.Write(connect)
	return err
}

// publicInfo is the broker's INFO as a drain may see it, and the nonce in it.
func publicInfo(line []byte) (info []byte, nonce string, err error) {
	text, found := bytes.CutPrefix(line, []byte("INFO "))
	said := map[string]any{}
	if err := json.Unmarshal(text, &said); !found || err != nil {
		return nil, "", fmt.Errorf("the broker's greeting cannot be read: %w", err)
	}
	nonce, _ = said["nonce"].(string)
	delete(said, "nonce")
	said["tls_required"] = true
	shown, err := json.Marshal(said)
	return fmt.Appendf(nil, "INFO %s\r\n", shown), nonce, err
}

func (w *wire) connect(name, nonce string) ([]byte, error) {
	public, err := w.user.PublicKey()
	if err != nil {
		return nil, err
	}
	signed, err := w.user.Sign([]byte(nonce))
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(map[string]any{"verbose": false, "pedantic": false, "lang": "go", "protocol": 1, "headers": true, "no_responders": true,
		"name": relay.Excerpt([]byte(name)), "nkey": public, "sig": base64.RawURLEncoding.EncodeToString(signed)})
	return fmt.Appendf(nil, "CONNECT %s\r\n", text), err
}

// forward carries what the drain says, one operation after the other.
func (w *wire) forward() error {
	for {
		if w.from.Buffered() == 0 {
			if err := w.to.Flush(); err != nil {
				return err
			}
		}
		line, err := w.from.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull) || len(line) > maxControlLine:
			return forbidden("a line has more than %d bytes", maxControlLine)
		case err != nil:
			return err
		}
		if err := w.operation(line); err != nil {
			return err
		}
	}
}

// operation carries one operation, and the message that follows it.
func (w *wire) operation(line []byte) error {
	words := bytes.Fields(line)
	if len(words) == 0 {
		return forbidden("a line is empty")
	}
	op, count := string(words[0]), len(words)
	switch {
	case (op == "PING" || op == "PONG") && count == 1,
		op == "SUB" && (count == 3 || count == 4),
		op == "UNSUB" && (count == 2 || count == 3):
		return w.say(words)
	case op == "PUB" && (count == 3 || count == 4):
		return w.message(words, words[2:count-1], 0)
	case op == "HPUB" && (count == 4 || count == 5):
		header, err := size(words[count-2], maxDrainHeader)
		if err != nil {
			return err
		}
		return w.message(words, words[2:count-2], header)
	default:
		return forbidden("it says %q", relay.Excerpt(words[0]))
	}
}

// message carries a message of so many bytes of headers, if its answer goes to
// where the drain itself listens.
func (w *wire) message(words, reply [][]byte, header int) error {
	for _, r := range reply {
		if to := string(r); !bytes.HasPrefix(r, []byte(w.inbox)) || !server.IsValidLiteralSubject(to) {
			return forbidden("the answer to %q was to go to %q", relay.Excerpt(words[1]), relay.Excerpt(r))
		}
	}
	total, err := size(words[len(words)-1], MaxMessage)
	if err != nil {
		return err
	}
	if header > total {
		return forbidden("the headers are larger than the message")
	}
	event := ""
	if bytes.HasPrefix(words[1], []byte(w.events)) {
		event = string(words[1]) // what is read next takes the place of the line
	}
	if err := w.say(words); err != nil {
		return err
	}
	if err := w.headers(header); err != nil {
		return err
	}
	if err := w.body(event, total-header); err != nil {
		return err
	}
	var end [2]byte
	if _, err := io.ReadFull(w.from, end[:]); err != nil {
		return err
	}
	if string(end[:]) != "\r\n" {
		return forbidden("a message is longer than was said")
	}
	_, err = w.to.Write(end[:])
	return err
}

// body carries what a message holds, of an event, which goes to that subject, only
// one that a drain may write.
func (w *wire) body(event string, n int) error {
	if event == "" {
		_, err := io.CopyN(w.to, w.from, int64(n))
		return err
	}
	if n > maxDrainEvent {
		return forbidden("an event has %d bytes, and %d may be", n, maxDrainEvent)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(w.from, data); err != nil {
		return err
	}
	if err := w.event(event, data); err != nil {
		return forbidden("an event: %v", err)
	}
	_, err := w.to.Write(data)
	return err
}

// headers carries the headers of a message. Those that mean something to the broker
// are not a drain's to set.
func (w *wire) headers(n int) error {
	if n == 0 {
		return nil
	}
	block := make([]byte, n)
	if _, err := io.ReadFull(w.from, block); err != nil {
		return err
	}
	lines := bytes.Split(bytes.TrimSuffix(block, []byte("\r\n\r\n")), []byte("\r\n"))
	for i, line := range lines {
		if i == 0 && string(line) == "NATS/1.0" {
			continue
		}
		if i == 0 || !bytes.HasPrefix(line, []byte("Relay-")) || bytes.ContainsAny(line, "\r\n") {
			return forbidden("a header is %q", relay.Excerpt(line))
		}
	}
	_, err := w.to.Write(block)
	return err
}

// say writes an operation as it is written.
func (w *wire) say(words [][]byte) error {
	for i, word := range words {
		if i > 0 {
			if err := w.to.WriteByte(' '); err != nil {
				return err
			}
		}
		if _, err := w.to.Write(word); err != nil {
			return err
		}
	}
	_, err := w.to.WriteString("\r\n")
	return err
}

// size reads a number of bytes that may be up to most.
func size(word []byte, most int) (int, error) {
	n, err := strconv.ParseUint(string(word), 10, 31)
	if err != nil || n > uint64(most) {
		return 0, forbidden("a message of %q bytes, and %d may be", relay.Excerpt(word), most)
	}
	return int(n), nil
}

// refuse says to a drain with the wrong certificate, in the words of its protocol,
// that it is not let in, and leaves it the time to hear it.
func refuse(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(time.Second)) // a connection that is closed says so below
	_, err := io.WriteString(conn, `INFO {"version":"2.15.0","proto":1,"headers":true,"max_payload":1024,"auth_required":true,"tls_required":true}`+
		"\r\n-ERR 'Authorization Violation'\r\n")
	if err == nil {
		_, _ = io.CopyN(io.Discard, conn, maxGreeting) // until it goes, or the time is over
	}
}
