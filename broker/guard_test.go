package broker_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/cmd/pki"
	"github.com/theforeman/foreman-relay/relay"
)

// signer is a CA that signs whatever it is told.
type signer struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newSigner(t *testing.T, name string) *signer {
	t.Helper()
	s := &signer{t: t}
	var err error
	s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, s.key.Public(), s.key)
	require.NoError(t, err)
	s.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	s.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return s
}

// issue makes a drain's certificate, but for what change does to it.
func (s *signer) issue(serial int64, change func(*x509.Certificate)) tls.Certificate {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(s.t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "drain"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, URIs: []*url.URL{uri(s.t, broker.DrainUser(queue.Destination))}}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.cert, key.Public(), s.key)
	require.NoError(s.t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// revoke writes a list of these serial numbers.
func (s *signer) revoke(file string, number int64, serials ...int64) {
	s.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, serial := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, s.cert, s.key)
	require.NoError(s.t, err)
	replace(s.t, file, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

// replace puts a file in the place of another, as whoever renews certificates does.
func replace(t *testing.T, file string, text []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(file+".new", text, 0o600))
	require.NoError(t, os.Rename(file+".new", file))
}

func uri(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	require.NoError(t, err)
	return u
}

// guarded is a broker with a port, and the two CAs of it: one for each side.
type guarded struct {
	*broker.Broker
	t     *testing.T
	certs string  // with the edge's certificate, and the CA of that
	ca    *signer // of the drains
	crl   string
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{t: t, ca: newSigner(t, "drains")}
	var change func(*broker.Options)
	dir := t.TempDir()
	g.crl = filepath.Join(dir, "crl.pem")
	g.ca.revoke(g.crl, 1)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.pem"), g.ca.pem, 0o600))
	g.certs = filepath.Join(dir, "pki")
	_, err := pki.Init(g.certs, pki.Options{Now: time.Now()})
	require.NoError(t, err)
	change = func(o *broker.Options) {
		quietly(o)
		o.Listen = &broker.ListenOptions{Address: "127.0.0.1:0", CertFile: filepath.Join(g.certs, "edge.crt"), KeyFile: filepath.Join(g.certs, "edge.key"),
			ClientCAFile: filepath.Join(dir, "ca.pem"), CRLFile: g.crl}
	}
	g.Broker = open(t, stateDir(t), change)
	return g
}

// config is a client's with a certificate.
func (g *guarded) config(cert ...tls.Certificate) *tls.Config {
	text, err := os.ReadFile(filepath.Join(g.certs, "ca.crt"))
	require.NoError(g.t, err)
	pool := x509.NewCertPool()
	require.True(g.t, pool.AppendCertsFromPEM(text))
	return &tls.Config{RootCAs: pool, Certificates: cert, ServerName: "localhost", MinVersion: tls.VersionTLS10}
}

// connect is a client of the protocol, of whoever made it.
func (g *guarded) connect(config *tls.Config) (*nats.Conn, error) {
	return nats.Connect("tls://"+g.Address(), nats.Secure(config), nats.TLSHandshakeFirst(), nats.NoReconnect(), nats.Timeout(5*time.Second),
		nats.CustomInboxPrefix("_INBOX_drain_foreman"))
}

// Each wrong certificate is refused, and nothing changes.
func TestOnlyADrainsCertificateIsLetIn(t *testing.T) {
	g := newGuarded(t)
	before := everything(t, g.Broker)
	strangers := newSigner(t, "drains") // of the same name
	g.ca.revoke(g.crl, 2, 66)
	as := func(change func(*x509.Certificate)) *tls.Config { return g.config(g.ca.issue(7, change)) }
	mine := broker.DrainUser(queue.Destination)
	for name, config := range map[string]*tls.Config{
		"none":         g.config(),
		"another CA":   g.config(strangers.issue(7, nil)),
		"expired":      as(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
		"too early":    as(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }),
		"for a server": as(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
		"revoked":      g.config(g.ca.issue(66, nil)),
		"no name":      as(func(c *x509.Certificate) { c.URIs = nil }),
		"a host":       as(func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"host.example.com"} }),
		"as a DNS name": as(func(c *x509.Certificate) {
			c.URIs, c.DNSNames, c.Subject.CommonName = nil, []string{"foreman-relay.drain.foreman"}, mine
		}),
		"as an address":    as(func(c *x509.Certificate) { c.URIs, c.EmailAddresses = nil, []string{mine} }),
		"another URI":      as(func(c *x509.Certificate) { c.URIs = []*url.URL{uri(t, "spiffe://relay/foreman")} }),
		"the URI of none":  as(func(c *x509.Certificate) { c.URIs = []*url.URL{uri(t, broker.DrainUser("nowhere"))} }),
		"the URI and more": as(func(c *x509.Certificate) { c.URIs = []*url.URL{uri(t, mine+"/x")} }),
		"two destinations": as(func(c *x509.Certificate) { c.URIs = append(c.URIs, uri(t, broker.DrainUser("elsewhere"))) }),
		"an old TLS":       func() *tls.Config { c := as(nil); c.MaxVersion = tls.VersionTLS11; return c }(),
		"the key of the edge's": func() *tls.Config {
			c, err := tls.LoadX509KeyPair(filepath.Join(g.certs, "edge.crt"), filepath.Join(g.certs, "edge.key"))
			require.NoError(t, err)
			return g.config(c)
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := g.connect(config)
			require.Error(t, err)
		})
	}
	_, err := nats.Connect("nats://" + g.Address())
	require.Error(t, err, "no TLS")
	other, err := g.connect(as(func(c *x509.Certificate) { c.URIs = []*url.URL{uri(t, broker.DrainUser("elsewhere"))} }))
	require.NoError(t, err, "another destination's is let in, as what it is")
	_, err = other.Request("relay-drain.foreman.lease", nil, 100*time.Millisecond)
	require.Error(t, err)
	other.Close()
	require.Equal(t, before, everything(t, g.Broker))

	good, err := g.connect(as(nil))
	require.NoError(t, err, "the certificate that the others differ from")
	good.Close()

	wrong, certs := listening(t)
	require.NoError(t, pki.Issue(certs, pki.Request{Now: time.Now(), Use: pki.Host, Host: "host.example.com"}))
	c := dial(t, wrong, certs, "host.example.com")
	require.Eventually(t, func() bool {
		_, err := c.Lease(t.Context(), relay.LeaseRequest{Instance: "i", Session: "s"})
		return err != nil && strings.Contains(err.Error(), broker.DrainUser("foreman"))
	}, 10*time.Second, 20*time.Millisecond, "the drain is told which certificate it needs")
}

// raw speaks the protocol by hand, over a drain's connection.
type raw struct {
	*tls.Conn
	from *bufio.Reader
}

func (g *guarded) raw(t *testing.T, connect string) *raw {
	t.Helper()
	conn, err := tls.Dial("tcp", g.Address(), g.config(g.ca.issue(7, nil)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	r := &raw{conn, bufio.NewReader(conn)}
	greeting, err := r.from.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, greeting, "INFO ")
	require.NotContains(t, greeting, "nonce")
	r.say(connect + "\r\nPING\r\n")
	return r
}

func (r *raw) say(text string) { _, _ = io.WriteString(r, text) } // one that is cut off finds out by reading

// line is what the other side says; empty: it has hung up.
func (r *raw) line() string {
	for {
		line, err := r.from.ReadString('\n')
		switch {
		case err != nil:
			return ""
		case !strings.HasPrefix(line, "INFO "): // the server greets anew when it likes
			return strings.TrimSpace(line)
		}
	}
}

// The broker answers a request to wherever it says, in its own right: whoever may
// ask it for anything could have it write to any stream, and command it. So who asks
// for an answer to anybody else is cut off, and so is whoever says something that a
// drain does not say.
func TestADrainIsAnsweredItselfAndNobodyElse(t *testing.T) {
	g := newGuarded(t)
	accept(t, g.Broker, message("host", "", "mine"))
	before := everything(t, g.Broker)
	mine, theirs := broker.JournalStream(queue), broker.JournalStream(elsewhere)
	get := "PUB $JS.API.DIRECT.GET." + mine + " %s 9\r\n{\"seq\":1}\r\n"
	tries := map[string]string{
		"the lease":       "PUB relay-drain.foreman.lease relay." + elsewhere.Token() + ".id.lane.message 2\r\n{}\r\n",
		"the next one":    "PUB $JS.API.CONSUMER.MSG.NEXT." + mine + ".drain_foreman relay." + elsewhere.Token() + ".id.lane.message 0\r\n\r\n",
		"an event":        "PUB relay-event.foreman." + queue.Token() + ".1 $JS.API.STREAM.PURGE." + theirs + " 2\r\n{}\r\n",
		"with a header":   "HPUB $JS.API.DIRECT.GET." + mine + " $JS.API.STREAM.DELETE." + theirs + " 12 12\r\nNATS/1.0\r\n\r\n\r\n",
		"in lower case":   "pub $JS.API.DIRECT.GET." + mine + " $KV.relay.run 0\r\n\r\n",
		"with tabs":       "PUB\t$JS.API.DIRECT.GET." + mine + "\t$KV.relay.run\t0\r\n\r\n",
		"three words":     "PUB $JS.API.DIRECT.GET." + mine + " _INBOX_drain_foreman.x $KV.relay.run 0\r\n\r\n",
		"CONNECT again":   "CONNECT {\"user\":\"x\"}\r\n",
		"a server's word": "MSG x 1 0\r\n\r\n",
		"a leaf's":        "LS+ >\r\n",
		"an account's":    "A+ x\r\n",
		"more than said":  "PUB x 1\r\nxxPUB y 0\r\n",
		"less than none":  "PUB x -1\r\n",
		"too much":        "PUB x 999999999\r\n",
		"more header":     "HPUB x 9 1\r\n",
		"a trace":         "HPUB relay-drain.foreman.lease _INBOX_drain_foreman.x 36 36\r\nNATS/1.0\r\nNats-Trace-Dest: relay.x\r\n\r\n",
		"no header":       "HPUB relay-drain.foreman.lease _INBOX_drain_foreman.x 12 12\r\nRelay-X: 1\r\n",
		"a long line":     "PUB " + strings.Repeat("x", broker.MaxControlLine) + " 0\r\n\r\n",
		"nothing":         "\r\n",
	}
	for _, reply := range []string{"relay." + elsewhere.Token() + ".id.lane.message", "relay." + queue.Token() + ".id.lane.message", "relay-event.foreman." + queue.Token() + ".1",
		"relay-dead.x.y.z", "relay-keys.foreman.x", "$KV.relay.run", "$KV.relay.lease.foreman." + queue.Token(), "$JS.API.STREAM.DELETE." + theirs, "$JS.API.STREAM.DELETE." + mine,
		"$JS.API.STREAM.PURGE." + theirs, "$JS.API.STREAM.INFO." + mine, "_INBOX_drain_elsewhere.x", "_INBOX_drain_foremans.x", "_INBOX_door.x", "_INBOX_drain_foreman", "_INBOX_drain_foreman.>",
		"_INBOX_drain_foreman.*", "_INBOX_drain_foreman..x", "relay-pass.foreman.reply.x", "relay-pass.foreman.request", "$SYS.REQ.SERVER.PING", "_R_.x"} {
		tries["an answer to "+reply] = fmt.Sprintf(get, reply)
	}
	for name, said := range tries {
		t.Run(name, func(t *testing.T) {
			r := g.raw(t, "CONNECT {}")
			require.Equal(t, "PONG", r.line())
			r.say(said)
			r.say("PING\r\n")
			for line := r.line(); line != ""; line = r.line() {
				require.NotEqual(t, "PONG", line, "it goes on")
			}
		})
	}
	r := g.raw(t, "CONNECT {}")
	require.Equal(t, "PONG", r.line())
	r.say("SUB _INBOX_drain_foreman.x  1\r\n" + fmt.Sprintf(get, "_INBOX_drain_foreman.x"))
	require.Contains(t, r.line(), "HMSG _INBOX_drain_foreman.x 1 ", "the request that the others differ from")
	require.Equal(t, before, everything(t, g.Broker))
}

// Whoever a drain says it is: it is what its certificate says, and in no account
// but that.
func TestADrainCannotSayThatItIsSomebodyElse(t *testing.T) {
	g := newGuarded(t)
	edge, err := broker.EdgeKey(g.Broker)
	require.NoError(t, err)
	for _, connect := range []string{`CONNECT {"nkey":"` + edge + `","sig":"x"}`, `CONNECT {"user":"` + broker.DrainUser("elsewhere") + `"}`, `CONNECT {"jwt":"x","account":"$SYS"}`} {
		r := g.raw(t, connect)
		require.Equal(t, "PONG", r.line())
		r.say("PUB relay.x 0\r\n\r\n")
		require.Contains(t, r.line(), "-ERR 'Permissions Violation for Publish to \"relay.x\"'")
		r.say("SUB relay-drain.elsewhere.lease 1\r\n")
		require.Contains(t, r.line(), "-ERR 'Permissions Violation for Subscription")
	}
	r := g.raw(t, `PING`)
	require.Empty(t, r.line(), "CONNECT comes first")
}

// Certificates, CA and revocations are read again when they change. Who is revoked
// is out, though connected before; nobody else is disturbed.
func TestCertificatesAreReadAgain(t *testing.T) {
	g := newGuarded(t)
	one, two := g.config(g.ca.issue(11, nil)), g.config(g.ca.issue(12, nil))
	first, err := g.connect(one)
	require.NoError(t, err)
	t.Cleanup(first.Close)
	second, err := g.connect(two)
	require.NoError(t, err)
	t.Cleanup(second.Close)
	g.ca.revoke(g.crl, 2, 11)
	require.Eventually(t, first.IsClosed, 20*time.Second, 10*time.Millisecond)
	require.True(t, second.IsConnected())
	_, err = g.connect(one)
	require.Error(t, err)

	replace(t, g.crl, []byte("nothing of the kind"))
	_, err = g.connect(one)
	require.Error(t, err, "what was read last holds")
	again, err := g.connect(two)
	require.NoError(t, err)
	again.Close()
	newSigner(t, "drains").revoke(g.crl, 3)
	_, err = g.connect(one)
	require.Error(t, err, "a list of somebody else's")
	g.ca.revoke(g.crl, 4)
	again, err = g.connect(one)
	require.NoError(t, err)
	again.Close()

	serial := func() string {
		conn, err := tls.Dial("tcp", g.Address(), two)
		require.NoError(t, err)
		defer func() { require.NoError(t, conn.Close()) }()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	require.NoError(t, pki.Issue(g.certs, pki.Request{Now: time.Now(), Use: pki.Edge, File: "renewed"}))
	for _, kind := range []string{".crt", ".key"} {
		text, err := os.ReadFile(filepath.Join(g.certs, "renewed"+kind))
		require.NoError(t, err)
		replace(t, filepath.Join(g.certs, "edge"+kind), text)
	}
	require.NotEqual(t, before, serial())
	require.True(t, second.IsConnected())
}

// write puts a certificate and its key into NAME.crt and NAME.key.
func write(t *testing.T, dir, name string, c tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	require.NoError(t, err)
	replace(t, filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	replace(t, filepath.Join(dir, name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}))
}

// A drain does not talk to an edge whose certificate is revoked.
func TestAnEdgeThatIsRevoked(t *testing.T) {
	ca, dir := newSigner(t, "all"), t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	replace(t, in("ca.crt"), ca.pem)
	write(t, dir, "edge", ca.issue(31, func(c *x509.Certificate) {
		c.URIs, c.IPAddresses, c.ExtKeyUsage = nil, []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}))
	write(t, dir, "drain", ca.issue(32, nil))
	ca.revoke(in("crl.pem"), 1, 31)
	b := open(t, stateDir(t), func(o *broker.Options) {
		o.Listen = &broker.ListenOptions{Address: "127.0.0.1:0", CertFile: in("edge.crt"), KeyFile: in("edge.key"), ClientCAFile: in("ca.crt")}
	})
	c, err := broker.Dial(broker.DialOptions{URL: "tls://" + b.Address(), Destination: queue.Destination, CAFile: in("ca.crt"), CertFile: in("drain.crt"),
		KeyFile: in("drain.key"), CRLFile: in("crl.pem"), Log: zerolog.Nop()})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	require.Eventually(t, func() bool {
		_, err := c.Lease(t.Context(), relay.LeaseRequest{Instance: "i", Session: "s"})
		return err != nil && strings.Contains(err.Error(), "revoked")
	}, 10*time.Second, 20*time.Millisecond)
	ca.revoke(in("crl.pem"), 2)
	require.Eventually(t, broker.Conn(c).IsConnected, 10*time.Second, 5*time.Millisecond)
}

// Files that are wrong at the start end it, each with its name.
func TestCertificatesThatCannotBeUsed(t *testing.T) {
	g := newGuarded(t)
	in := func(name string) string { return filepath.Join(g.certs, name) }
	good := broker.ListenOptions{Address: "127.0.0.1:0", CertFile: in("edge.crt"), KeyFile: in("edge.key"), ClientCAFile: in("ca.crt")}
	for want, change := range map[string]func(*broker.ListenOptions){
		"edge.crt":       func(o *broker.ListenOptions) { o.KeyFile = in("drain.key") },
		"nowhere":        func(o *broker.ListenOptions) { o.ClientCAFile = in("nowhere") },
		"no certificate": func(o *broker.ListenOptions) { o.ClientCAFile = in("edge.key") },
		"X509 CRL":       func(o *broker.ListenOptions) { o.CRLFile = in("ca.crt") },
		"signed by none": func(o *broker.ListenOptions) { o.CRLFile = g.crl },
		"HOST:PORT":      func(o *broker.ListenOptions) { o.Address = "edge" },
	} {
		o := good
		change(&o)
		_, err := broker.Open(t.Context(), broker.Options{StateDir: stateDir(t), Queues: []relay.Queue{queue}, Log: zerolog.Nop(), Listen: &o})
		require.ErrorContains(t, err, want)
	}
}

// A drain reads its own certificate at each dial: one that was revoked comes back by
// itself when it is renewed.
func TestADrainRenewsItsCertificate(t *testing.T) {
	g := newGuarded(t)
	dir := t.TempDir()
	write(t, dir, "drain", g.ca.issue(21, nil))
	text, err := os.ReadFile(filepath.Join(g.certs, "ca.crt"))
	require.NoError(t, err)
	replace(t, filepath.Join(dir, "ca.crt"), text)
	nc := broker.Conn(dialAt(t, g.Address(), dir, "drain"))
	require.Eventually(t, nc.IsConnected, 10*time.Second, 5*time.Millisecond)
	g.ca.revoke(g.crl, 2, 21)
	require.Eventually(t, func() bool { return !nc.IsConnected() }, 20*time.Second, 5*time.Millisecond)
	write(t, dir, "drain", g.ca.issue(22, nil))
	require.Eventually(t, nc.IsConnected, 20*time.Second, 5*time.Millisecond)
}

// A connection listens to so much and no more.
func TestSubscriptionsAreBounded(t *testing.T) {
	g := newGuarded(t)
	r := g.raw(t, "CONNECT {}")
	require.Equal(t, "PONG", r.line())
	var all strings.Builder
	for i := range broker.MaxSubscriptions + 1 {
		fmt.Fprintf(&all, "SUB _INBOX_drain_foreman.%d %d\r\n", i, i+1)
	}
	r.say(all.String())
	require.Contains(t, r.line(), "-ERR 'maximum subscriptions exceeded'")
}

// Who only holds the port's places has them for as long as a handshake may take.
func TestThePortIsBounded(t *testing.T) {
	g := newGuarded(t)
	mute, err := tls.Dial("tcp", g.Address(), g.config(g.ca.issue(7, nil)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = mute.Close() }) // it may be closed already
	silent := []net.Conn{mute}
	for range broker.MaxConnections - 1 {
		conn, err := net.Dial("tcp", g.Address())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
		silent = append(silent, conn)
	}
	more, err := net.Dial("tcp", g.Address())
	require.NoError(t, err)
	_, err = more.Read(make([]byte, 1))
	require.Error(t, err, "one more is closed at once")
	require.NoError(t, more.Close())
	for _, conn := range silent {
		require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
		_, err := io.Copy(io.Discard, conn) // one has shaken hands and is greeted
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it is cut off")
	}
	require.Eventually(t, func() bool {
		nc, err := g.connect(g.config(g.ca.issue(7, nil)))
		if err == nil {
			nc.Close()
		}
		return err == nil
	}, 10*time.Second, 20*time.Millisecond)
}

// A connection holds no longer than the certificate with which it was made.
func TestACertificateThatRunsOut(t *testing.T) {
	g := newGuarded(t)
	nc, err := g.connect(g.config(g.ca.issue(21, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(3 * time.Second) })))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	other, err := g.connect(g.config(g.ca.issue(22, nil)))
	require.NoError(t, err)
	t.Cleanup(other.Close)
	require.Eventually(t, nc.IsClosed, 20*time.Second, 10*time.Millisecond)
	require.True(t, other.IsConnected())
}

// The drains of one destination take no more than their share of the port's places.
func TestADestinationHasItsShareOfThePort(t *testing.T) {
	g := newGuarded(t)
	var last *raw
	for range broker.MaxOfDestination {
		last = g.raw(t, "CONNECT {}")
		require.Equal(t, "PONG", last.line())
	}
	_, err := g.connect(g.config(g.ca.issue(23, nil)))
	require.Error(t, err)
	other, err := g.connect(g.config(g.ca.issue(24, func(c *x509.Certificate) { c.URIs = []*url.URL{uri(t, broker.DrainUser("elsewhere"))} })))
	require.NoError(t, err)
	other.Close()
	require.NoError(t, last.Close())
	require.Eventually(t, func() bool {
		nc, err := g.connect(g.config(g.ca.issue(25, nil)))
		if err == nil {
			nc.Close()
		}
		return err == nil
	}, 10*time.Second, 20*time.Millisecond, "a place is free again")
}
