package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/theforeman/foreman-relay/relay"
)

// Error codes of JetStream that the relay acts upon.
const (
	codeWrongLastSequence = 10071 // the id is stored already
	codeExpectInProcess   = 10164 // the id is being stored, in a cluster
	codeStoreFailed       = 10077 // a limit of the stream; which one, only the text says
	codeTooLarge          = 10054
	codeInsufficient      = 10023
	codeStorageExceeded   = 10047
	codeTooManyInbound    = 10167
)

// pubError is an answer of JetStream that refuses a message.
type pubError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *pubError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

func (e *pubError) full() bool {
	return e.ErrCode == codeStoreFailed && strings.Contains(e.Description, "maximum") ||
		e.ErrCode == codeInsufficient || e.ErrCode == codeStorageExceeded
}

// expectNew makes the broker refuse a message if any is stored that matches.
func expectNew(msg *nats.Msg, filter string) {
	msg.Header.Set("Nats-Expected-Last-Subject-Sequence", "0")
	msg.Header.Set("Nats-Expected-Last-Subject-Sequence-Subject", filter)
}

// publish stores a message and returns its sequence: the broker has written it,
// not necessarily synced. A *pubError means that it was not stored; any other
// error leaves that open.
func publish(ctx context.Context, nc *nats.Conn, msg *nats.Msg, data []byte) (uint64, error) {
	msg.Data = data
	answer, err := nc.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return 0, err
	}
	if sequence, ok := plainAck(answer.Data); ok {
		return sequence, nil
	}
	var ack struct {
		Sequence uint64    `json:"seq"`
		Error    *pubError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return 0, fmt.Errorf("broker's acknowledgement: %w", err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	if ack.Sequence == 0 {
		return 0, errors.New("broker's acknowledgement has no sequence")
	}
	return ack.Sequence, nil
}

// plainAck reads the usual acknowledgement, {"stream":"NAME","seq":12}, without
// the cost of JSON: there is one for every message and every event. Anything else
// is left to the decoder.
func plainAck(answer []byte) (sequence uint64, ok bool) {
	rest, begins := bytes.CutPrefix(answer, []byte(`{"stream":"`))
	_, rest, named := bytes.Cut(rest, []byte(`"`))
	rest, follows := bytes.CutPrefix(rest, []byte(`,"seq":`))
	rest, ends := bytes.CutSuffix(rest, []byte(`}`))
	if !begins || !named || !follows || !ends {
		return 0, false
	}
	sequence, err := strconv.ParseUint(string(rest), 10, 64)
	return sequence, err == nil && sequence > 0
}

// storeMessage publishes a message of a queue, which gets its sequence.
func storeMessage(ctx context.Context, nc *nats.Conn, m *relay.Message, once bool) error {
	header, err := relay.EncodeEnvelope(m)
	if err != nil {
		return err
	}
	subject, err := messageSubject(m)
	if err != nil {
		return err
	}
	msg := &nats.Msg{Subject: subject, Header: header}
	if once {
		queue, own, _ := relay.ParseID(m.ID)
		expectNew(msg, idFilter(queue, own))
	}
	m.Sequence, err = publish(ctx, nc, msg, m.Body)
	return err
}
