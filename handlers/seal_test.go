package handlers_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/cmd/pki"
	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

const sealPath = "/relay/v1/queues/default/foreman/messages"

// sealer marks what it seals, and keeps what it was passed.
type sealer struct {
	covers bool
	err    error
	passed []relay.Credentials
}

func (s *sealer) Covers(context.Context, string) (bool, error) { return s.covers, nil }

func (s *sealer) SealCredentials(_ context.Context, m *relay.Message, c relay.Credentials) error {
	c.Key = bytes.Clone(c.Key)
	s.passed = append(s.passed, c)
	m.Sealed = "sealed"
	return s.err
}

func (s *sealer) SealBody(_ context.Context, m *relay.Message) error {
	m.Body, m.Encryption = []byte("sealed"), relay.EncryptionAge
	return s.err
}

func (s *sealer) Blind(_ context.Context, text string) (string, error) {
	return "blind" + relay.DigestOf([]byte(text))[:8], nil
}

// sealingEdge is an edge with a certificate and key for it to be passed.
func sealingEdge(t *testing.T) (b *bench, s *sealer, cert, key string) {
	t.Helper()
	s = &sealer{}
	b = newEdge(t, func(o *handlers.EdgeOptions) { o.Sealer = s })
	dir := filepath.Join(t.TempDir(), "pki")
	_, err := pki.Init(dir, pki.Options{Now: time.Now(), Host: "sender.example.com"})
	require.NoError(t, err)
	line := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return base64.StdEncoding.EncodeToString(text)
	}
	return b, s, line("host.crt"), line("host.key")
}

func TestPassedCredentialsAreSealed(t *testing.T) {
	b, s, cert, key := sealingEdge(t)
	w := b.do(post(sealPath, report, "Relay-Authorization", "Bearer s3cr3t", "Relay-Client-Certificate", cert, "Relay-Client-Key", key))
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	m := b.intake.one(t)
	require.Equal(t, "sealed", m.Sealed)
	require.Equal(t, report, string(m.Body), "the organization's bodies are not sealed")
	require.Equal(t, "Bearer s3cr3t", s.passed[0].Authorization)
	_, err := s.passed[0].Pair()
	require.NoError(t, err)
	require.NotContains(t, b.log.String()+w.Body.String(), "s3cr3t")
	require.Empty(t, m.Header)
}

// What is refused is not stored, and no answer repeats any of it.
func TestCredentialsThatAreRefused(t *testing.T) {
	b, s, cert, key := sealingEdge(t)
	long := strings.Repeat("x", relay.MaxCredentials)
	for name, c := range map[string]struct {
		headers []string
		code    relay.Code
		status  int
	}{
		"no scheme":           {[]string{"Relay-Authorization", "s3cr3t"}, relay.CodeMalformed, 400},
		"empty":               {[]string{"Relay-Authorization", " "}, relay.CodeMalformed, 400},
		"twice":               {[]string{"Relay-Authorization", "Bearer s3cr3t", "Relay-Authorization", "Bearer s3cr3t2"}, relay.CodeMalformed, 400},
		"a key alone":         {[]string{"Relay-Client-Key", key}, relay.CodeMalformed, 400},
		"a certificate alone": {[]string{"Relay-Client-Certificate", cert}, relay.CodeMalformed, 400},
		"no base64":           {[]string{"Relay-Client-Certificate", cert, "Relay-Client-Key", "s3cr3t"}, relay.CodeMalformed, 400},
		"no PEM":              {[]string{"Relay-Client-Certificate", cert, "Relay-Client-Key", base64.StdEncoding.EncodeToString([]byte("s3cr3t"))}, relay.CodeMalformed, 400},
		"no pair":             {[]string{"Relay-Client-Certificate", key, "Relay-Client-Key", key}, relay.CodeInvalid, 422},
		"an encrypted key": {[]string{"Relay-Client-Certificate", cert, "Relay-Client-Key",
			base64.StdEncoding.EncodeToString([]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\ns3cr3t\n-----END ENCRYPTED PRIVATE KEY-----\n"))}, relay.CodeInvalid, 422},
		"too large": {[]string{"Relay-Authorization", "Bearer " + long}, relay.CodeTooLarge, 413},
	} {
		w := b.do(post(sealPath, report, c.headers...))
		require.Equal(t, c.status, w.Code, "%s: %s", name, w.Body)
		p := problem(t, c.status, w.Header(), w.Body.Bytes(), c.code)
		require.Contains(t, p.Detail, "nothing was stored", name)
		require.NotContains(t, b.log.String()+w.Body.String(), "s3cr3t", name)
	}
	require.Empty(t, b.intake.accepted())
	require.Empty(t, s.passed)
	w := b.do(post(sealPath, report, "Relay-Authorization", "Bearer "+long[len("Bearer "):]))
	require.Equal(t, http.StatusAccepted, w.Code, "just as large as may be: %s", w.Body)
}

func TestCredentialsAreTakenForAQueueByItsNameAlone(t *testing.T) {
	b, _, _, _ := sealingEdge(t)
	w := b.do(post(reportPath, report, "Relay-Authorization", "Bearer s3cr3t"))
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
	require.Contains(t, w.Body.String(), "by its name alone")
	plain := newEdge(t, nil)
	w = plain.do(post(sealPath, report, "Relay-Authorization", "Bearer s3cr3t"))
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
	require.Contains(t, w.Body.String(), "seals nothing")
	require.Empty(t, append(b.intake.accepted(), plain.intake.accepted()...))
}

// A body is sealed after all that looks at it, and its derived key is blind: it may
// be made of the body.
func TestBodiesAreSealed(t *testing.T) {
	b, s, _, _ := sealingEdge(t)
	s.covers = true
	w := b.do(post(reportPath, report))
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
	m := b.intake.one(t)
	require.Equal(t, "sealed", string(m.Body))
	require.Equal(t, "web01.example.com", m.Lane)
	require.Equal(t, "report\x1fblind"+relay.DigestOf([]byte("config_report\x1fweb01.example.com\x1f2026-11-23T11:59:00Z"))[:8], m.Key)
	require.Equal(t, relay.KeyedID(queue, m.Key), m.ID)
	require.Equal(t, m.ID, m.DeliveryKey())

	w = b.do(post(sealPath, report, "Idempotency-Key", "given"))
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	require.Equal(t, "given", b.intake.accepted()[1].Key, "it is its sender's, who knows it")

	s.err = errors.New("no")
	require.Equal(t, http.StatusInternalServerError, b.do(post(reportPath, report)).Code)
	s.err = relay.Refuse(relay.CodeUnavailable, "no key")
	require.Equal(t, http.StatusServiceUnavailable, b.do(post(reportPath, report)).Code)
	require.Len(t, b.intake.accepted(), 2, "never in clear")
}

// What Foreman's document has sealed for a queue goes with what is accepted for it,
// on every route, but where the sender has passed something of its own.
func TestCredentialsOfTheHandshakeGoAlong(t *testing.T) {
	s := &sealer{covers: true}
	sealed := base64.StdEncoding.EncodeToString([]byte("age-encryption.org/v1\n-> X25519 abc\nxyz\n--- mac\nbody"))
	h := relay.NewHandshaker(relay.HandshakerOptions{Store: &keeper{record: relay.HandshakeRecord{Revision: 1, Document: relay.Handshake{Version: 1,
		Credentials: []relay.SealedCredential{{Organization: queue.Organization, Destination: queue.Destination, Sealed: sealed}}}}}})
	_, err := h.Start(t.Context())
	require.NoError(t, err)
	b := newEdge(t, func(o *handlers.EdgeOptions) { o.Sealer, o.Handshaker = s, h })
	require.Equal(t, http.StatusCreated, b.do(post(reportPath, report)).Code)
	require.Equal(t, http.StatusAccepted, b.do(post(sealPath, report)).Code)
	require.Equal(t, http.StatusAccepted, b.do(post(sealPath, report, "Relay-Authorization", "Bearer mine")).Code)
	all := b.intake.accepted()
	for i, want := range []string{sealed, sealed, "sealed"} {
		require.Equal(t, want, all[i].Sealed)
		require.Equal(t, want == sealed, all[i].Standing)
		require.Equal(t, relay.EncryptionAge, all[i].Encryption, "the body is sealed all the same")
	}
}
