package pki_test

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/cmd/pki"
)

// The certificates do what they are for in a real handshake: the edge asks for
// a client certificate, and a drain and a host have one.
func TestMutualTLS(t *testing.T) {
	dir, result := newPKI(t)
	require.NoError(t, pki.Issue(dir, pki.Request{Now: now, Use: pki.Drain, Destination: "other"}))
	stranger := readPKI(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			server := serverConfig(t, result, version)
			for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
				peer, err := shake(t, server, clientConfig(t, result.CA, &result.Drain, name))
				require.NoError(t, err, name)
				assert.Equal(t, "foreman-relay://drain/foreman", peer.PeerCertificates[0].URIs[0].String())
				assert.Equal(t, version, peer.Version)
			}
			peer, err := shake(t, server, clientConfig(t, result.CA, &result.Host, "localhost"))
			require.NoError(t, err)
			assert.Equal(t, hostName, peer.PeerCertificates[0].Subject.CommonName)

			_, err = shake(t, server, clientConfig(t, result.CA, &pki.Pair{Certificate: dir + "/drain-other.crt", Key: dir + "/drain-other.key"}, "localhost"))
			require.NoError(t, err, "a certificate issued later")
			_, err = shake(t, server, clientConfig(t, result.CA, nil, "localhost"))
			assert.Error(t, err, "no client certificate")
			_, err = shake(t, server, clientConfig(t, result.CA, &stranger.Drain, "localhost"))
			assert.Error(t, err, "another CA's client")
			_, err = shake(t, server, clientConfig(t, stranger.CA, &result.Drain, "localhost"))
			assert.Error(t, err, "another CA's server")
			_, err = shake(t, server, clientConfig(t, result.CA, &result.Edge, "localhost"))
			assert.Error(t, err, "a server certificate is no client's")
			_, err = shake(t, server, clientConfig(t, result.CA, &result.Drain, "elsewhere.example.com"))
			assert.Error(t, err, "another name")
		})
	}
}

func serverConfig(t *testing.T, r pki.Result, version uint16) *tls.Config {
	t.Helper()
	return &tls.Config{
		Certificates: []tls.Certificate{load(t, r.Edge)},
		ClientCAs:    roots(t, r.CA.Certificate),
		ClientAuth:   tls.RequireAndVerifyClientCert,
		MinVersion:   version,
		MaxVersion:   version,
	}
}

func clientConfig(t *testing.T, ca pki.Pair, client *pki.Pair, name string) *tls.Config {
	t.Helper()
	c := &tls.Config{RootCAs: roots(t, ca.Certificate), ServerName: name, MinVersion: tls.VersionTLS12}
	if client != nil {
		// sent even when the server's list of CAs does not name its issuer
		certificate := load(t, *client)
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
	}
	return c
}

func load(t *testing.T, p pki.Pair) tls.Certificate {
	t.Helper()
	certificate, err := tls.LoadX509KeyPair(p.Certificate, p.Key)
	require.NoError(t, err)
	return certificate
}

// shake connects both ends and returns what the server knows of the client, or
// the first failure of either.
func shake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	near, far := net.Pipe()
	deadline := time.Now().Add(30 * time.Second)
	require.NoError(t, near.SetDeadline(deadline))
	require.NoError(t, far.SetDeadline(deadline))
	served := make(chan error, 1)
	accepted := tls.Server(far, server)
	go func() {
		defer func() { _ = far.Close() }()
		err := accepted.Handshake()
		if err == nil {
			_, err = accepted.Write([]byte("hello"))
		}
		served <- err
	}()
	dialed := tls.Client(near, client)
	_, err := io.ReadFull(dialed, make([]byte, 5)) // in TLS 1.3 a refusal comes after the handshake
	_ = near.Close()
	if refused := <-served; refused != nil {
		return tls.ConnectionState{}, refused
	}
	return accepted.ConnectionState(), err
}
