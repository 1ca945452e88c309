package handlers

import (
	"crypto/tls"
	"net/http"

	"github.com/rs/zerolog"
)

// NewServer is an HTTP server with the limits of an edge where nothing is
// configured.
func NewServer(h http.Handler, config *tls.Config, l zerolog.Logger) *http.Server {
	return DefaultConnectionLimits().Server(h, config, l)
}

// debugWriter takes the server's own complaints (handshakes that fail, say).
type debugWriter struct{ log zerolog.Logger }

func (w debugWriter) Write(p []byte) (int, error) {
	w.log.Debug().Str("from", "http").Msg(string(p[:max(0, len(p)-1)]))
	return len(p), nil
}
