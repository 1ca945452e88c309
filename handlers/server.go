package handlers

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"

	"github.com/rs/zerolog"
)

// NewServer is an HTTP server with the limits of an edge where nothing is
// configured.
func NewServer(h http.Handler, config *tls.Config, l zerolog.Logger) *http.Server {
	return DefaultDoor().Server(h, config, l)
}

// debugWriter takes the server's own complaints (handshakes that fail, say).
type debugWriter struct{ log zerolog.Logger }

func (w debugWriter) Write(p []byte) (int, error) {
	w.log.Debug().Str("from", "http").Msg(string(p[:max(0, len(p)-1)]))
	return len(p), nil
}

// ServerTLS is TLS 1.2 or newer with this certificate; with a client CA every
// client must have a certificate of it.
func ServerTLS(certFile, keyFile, clientCAFile string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("certificate %s and key %s: %w", certFile, keyFile, err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if clientCAFile == "" {
		return config, nil
	}
	pem, err := os.ReadFile(clientCAFile)
	if err != nil {
		return nil, fmt.Errorf("client CA: %w", err)
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("client CA: %s holds no certificate in PEM", clientCAFile)
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	return config, nil
}
