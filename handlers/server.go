package handlers

import (
	"crypto/tls"
	"log"
	"net/http"
	"time"

	"github.com/rs/zerolog"
)

// Limits of the HTTP servers.
const (
	readHeaderTimeout = 10 * time.Second
	writeTimeout      = 2 * time.Minute
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 32 << 10
)

// NewServer is an HTTP server with the limits of an edge.
func NewServer(h http.Handler, config *tls.Config, l zerolog.Logger) *http.Server {
	return &http.Server{Handler: h, TLSConfig: config, ReadHeaderTimeout: readHeaderTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, ErrorLog: log.New(debugWriter{l}, "", 0)}
}

// debugWriter takes the server's own complaints (handshakes that fail, say).
type debugWriter struct{ log zerolog.Logger }

func (w debugWriter) Write(p []byte) (int, error) {
	w.log.Debug().Str("from", "http").Msg(string(p[:max(0, len(p)-1)]))
	return len(p), nil
}
