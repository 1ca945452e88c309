package broker

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/theforeman/foreman-relay/relay"
)

// The edge gives pieces to the drains of a destination, of its own queues alone,
// one at a time.

// pieceRequest asks for one piece of a body.
type pieceRequest struct {
	ID     string `json:"id"`
	Object string `json:"object"`
	Piece  int    `json:"piece"`
}

const (
	hdrPieceSum   = "Relay-Piece-Sum"   // SHA-256, as it is stored
	hdrPieceError = "Relay-Piece-Error" // why there is none
	noSuchPiece   = "missing"
)

// serve listens for the drains until the broker closes.
func (o *objects) serve() error {
	for _, destination := range destinations(o.b.options.Queues) {
		buf := make([]byte, pieceSize+sumSize) // one call at a time, and the answer is copied
		sub, err := o.b.nc.Subscribe(pieceSubject(destination), func(msg *nats.Msg) {
			if err := msg.RespondMsg(o.answer(destination, buf, msg.Data)); err != nil {
				o.b.log.Warn().Err(err).Str("destination", destination).Msg("a piece could not be given to a drain; it asks again")
			}
		})
		if err != nil {
			return fmt.Errorf("listen for drains: %w", err)
		}
		o.b.later(func() { _ = sub.Unsubscribe() }) // the connection ends with it
	}
	return nil
}

func (o *objects) answer(destination string, buf, data []byte) *nats.Msg {
	msg := &nats.Msg{Header: nats.Header{}}
	var r pieceRequest
	err := json.Unmarshal(data, &r)
	token, _, _ := relay.ParseID(r.ID)
	if q, known := o.b.queues()[token]; err == nil && (!known || q.Destination != destination) {
		err = errNotFound
	}
	var p piece
	if err == nil {
		p, err = o.readInto(buf, r.ID, r.Object, r.Piece)
	}
	switch {
	case errors.Is(err, errNotFound):
		msg.Header.Set(hdrPieceError, noSuchPiece)
	case err != nil:
		o.b.log.Error().Err(err).Str("id", r.ID).Int("piece", r.Piece).Msg("a piece of a large body cannot be read")
		msg.Header.Set(hdrPieceError, "it cannot be read; the edge's log says why")
	default:
		msg.Header.Set(hdrPieceSum, hex.EncodeToString(p.sum))
		msg.Data = p.data
	}
	return msg
}

// pieceRetry is the pause before a piece is asked for again.
const pieceRetry = 200 * time.Millisecond

// piece reads one piece on the drain's side, again and again while the edge is
// away, until the attempt ends.
func (j *journal) piece(ctx context.Context, m *relay.Message, number int) (piece, error) {
	request, err := json.Marshal(pieceRequest{ID: m.ID, Object: m.Object, Piece: number})
	if err != nil {
		return piece{}, err
	}
	for {
		p, err := j.askPiece(ctx, request)
		if err == nil || errors.Is(err, errNotFound) {
			return p, err
		}
		if ctx.Err() != nil { // the attempt has ended, and the edge may be well
			return p, ctx.Err()
		}
		select {
		case <-time.After(pieceRetry):
		case <-ctx.Done():
			return p, errors.New("the edge does not give it: " + err.Error())
		}
	}
}

func (j *journal) askPiece(ctx context.Context, request []byte) (piece, error) {
	ctx, cancel, err := j.c.call(ctx)
	if err != nil {
		return piece{}, err
	}
	defer cancel()
	msg, err := j.c.nc.RequestWithContext(ctx, pieceSubject(j.queue.Destination), request)
	if err != nil {
		return piece{}, fmt.Errorf("ask the edge for a piece: %w", err)
	}
	switch why := msg.Header.Get(hdrPieceError); why {
	case "":
	case noSuchPiece:
		return piece{}, errNotFound
	default:
		return piece{}, errors.New(why)
	}
	sum, err := hex.DecodeString(msg.Header.Get(hdrPieceSum))
	return piece{data: msg.Data, sum: sum}, err
}
