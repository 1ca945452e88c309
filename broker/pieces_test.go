package broker_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// What the disk has changed or lost is never given as the body: the reader fails
// before the first wrong byte, the message becomes a dead letter, audit names it,
// and its replay is refused.
func TestADamagedBodyIsNeverGivenAsWhole(t *testing.T) {
	text := largeText(3*relay.MaxInline + 5)
	for name, damage := range map[string]func(name string, file []byte) []byte{
		"a byte":         func(_ string, f []byte) []byte { f[2<<20] ^= 1; return f },
		"a digest":       func(_ string, f []byte) []byte { f[len(f)-1] ^= 1; return f },
		"its end":        func(_ string, f []byte) []byte { return f[:len(f)-100] },
		"the last piece": func(_ string, f []byte) []byte { return f[:6*(broker.PieceSize+32)] },
		"pieces swapped": func(_ string, f []byte) []byte {
			const p = broker.PieceSize + 32
			return bytes.Join([][]byte{f[p : 2*p], f[:p], f[2*p:]}, nil)
		},
		"everything": func(string, []byte) []byte { return nil },
		"its content, piece by piece": func(name string, f []byte) []byte {
			_, upload, _ := strings.Cut(filepath.Base(name), ".")
			for at, n := 0, 1; at < len(f); n++ {
				end := min(at+broker.PieceSize, len(f)-32)
				f[at] ^= 1
				copy(f[end:], broker.PieceSum(upload, n, f[at:end]))
				at = end + 32
			}
			return f
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, stateDir(t), anyDisk)
			r := accept(t, b, message("host", "", text))
			file := broker.ObjectFiles(b, queue)[0]
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			if content = damage(file, content); content == nil {
				require.NoError(t, os.Remove(file))
			} else {
				require.NoError(t, os.WriteFile(file, content, 0o600))
			}
			if len(content) != len(text)+7*32 {
				reports, err := b.Audit(t.Context(), relay.AuditOptions{Queue: &queue})
				require.NoError(t, err)
				require.False(t, reports[0].Balanced)
				require.Contains(t, reports[0].Findings[0].What, "the body of the message")
				require.EqualValues(t, 1, reports[0].Findings[0].Sequence)
			}
			d := newCollector()
			drain(t, b, d, nil)
			status(t, b, settled)
			require.Empty(t, slices.Collect(maps.Keys(d.bodies)))
			require.ErrorIs(t, d.errs[0], relay.ErrDamaged)
			require.Less(t, len(d.cut[0]), len(text))
			if name != "its content, piece by piece" { // which nothing but the whole shows
				same(t, text[:len(d.cut[0])], d.cut[0]) // no wrong byte was given
			}
			l, err := b.DeadLetter(t.Context(), r.ID)
			require.NoError(t, err)
			require.Equal(t, relay.ReasonDamaged, l.Reason)
			_, err = b.Replay(t.Context(), r.ID, relay.Edit{})
			require.Equal(t, relay.CodeConflict, relay.CodeOf(err))
			_, err = b.Replay(t.Context(), r.ID, relay.Edit{Set: []relay.Replacement{{Pointer: "/a", Value: json.RawMessage("1")}}})
			require.Equal(t, relay.CodeConflict, relay.CodeOf(err)) // of this letter: a run over many goes on
			_, err = b.ExportDeadLetter(t.Context(), r.ID)
			require.Equal(t, relay.CodeConflict, relay.CodeOf(err))
			require.ErrorContains(t, err, "the body of letter "+r.ID+" cannot be read: the stored body is damaged")
			reports, err := b.Audit(t.Context(), relay.AuditOptions{Queue: &queue})
			require.NoError(t, err)
			require.Contains(t, reports[0].Findings[0].What, "body of the dead letter")
			require.NoError(t, b.Discard(t.Context(), r.ID))
			broker.Sweep(t.Context(), b, queue)
			balanced(t, b)
		})
	}
}

// A drain is given the pieces of its own queues, and nothing that is no piece.
func TestADrainIsGivenPiecesOfItsOwnQueuesAlone(t *testing.T) {
	elsewhere := relay.Queue{Organization: "other", Destination: "elsewhere"}
	b := open(t, stateDir(t), func(o *broker.Options) { anyDisk(o); o.Queues = append(o.Queues, elsewhere) })
	r := accept(t, b, message("host", "", largeText(2<<20)))
	_, upload, _ := strings.Cut(filepath.Base(broker.ObjectFiles(b, queue)[0]), ".")
	ask := func(destination, id, object string, number int) *nats.Msg {
		c, err := b.Connect(destination)
		require.NoError(t, err)
		defer c.Close()
		request, err := json.Marshal(map[string]any{"id": id, "object": object, "piece": number})
		require.NoError(t, err)
		msg, err := broker.Conn(c).Request("relay-drain."+destination+".piece", request, 5*time.Second)
		require.NoError(t, err)
		return msg
	}
	object := relay.ObjectName(upload, 4)
	require.Len(t, ask("foreman", r.ID, object, 4).Data, broker.PieceSize)
	for name, msg := range map[string]*nats.Msg{
		"of another destination": ask("elsewhere", r.ID, object, 1), "beyond the last": ask("foreman", r.ID, object, 5),
		"before the first": ask("foreman", r.ID, object, 0), "of nothing": ask("foreman", relay.FreshID(queue), object, 1),
		"of no object": ask("foreman", r.ID, "../"+object, 1), "of no id": ask("foreman", "../../marker", object, 1),
	} {
		require.Equal(t, []any{"missing", 0}, []any{msg.Header.Get("Relay-Piece-Error"), len(msg.Data)}, name)
	}
}
