package handlers_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// taker takes everything and keeps nothing.
type taker struct{ intake }

func (*taker) Accept(_ context.Context, m *relay.Message) (relay.Receipt, error) {
	return receiptOf(m), nil
}

// BenchmarkEdge is the edge's own share of a request, without network and broker.
func BenchmarkEdge(b *testing.B) {
	line := `{"log":{"level":"notice","sources":{"source":"//web01/Puppet"},"messages":{"message":"Applied catalog in 1.23 seconds"}}},`
	logs := strings.TrimSuffix(strings.Repeat(line, 130), ",")
	large := strings.Replace(report, `"logs":[]`, `"logs":[`+logs+`]`, 1) // 15.6 kB: a Puppet run with changes
	for name, c := range map[string]struct{ path, body string }{
		"report 15 kB":  {reportPath, large},
		"report small":  {reportPath, report},
		"generic 15 kB": {queuePath, large},
	} {
		b.Run(name, func(b *testing.B) {
			edge := newEdge(b, func(o *handlers.EdgeOptions) {
				o.Intake, o.MaxBody, o.Log = &taker{}, 1<<20, zerolog.Nop()
			})
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				edge.ServeHTTP(w, post(c.path, c.body))
				if w.Code >= 300 {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}
