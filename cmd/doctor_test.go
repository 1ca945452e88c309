package cmd

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/test/harness"
)

// doctor runs the command and returns its findings by check and, where several
// have one name, the last.
func doctor(t *testing.T, args ...string) (map[string]finding, int) {
	t.Helper()
	out, errs, code := cli(t, append([]string{"doctor", "-o", "json"}, args...)...)
	require.Empty(t, errs)
	var all []finding
	require.NoError(t, json.Unmarshal([]byte(out), &all), out)
	found := map[string]finding{}
	for _, f := range all {
		require.Contains(t, []string{levelOK, levelWarn, levelFail}, f.Level, f)
		require.NotEmpty(t, f.What, f)
		found[f.Check] = f
	}
	return found, code
}

func TestDoctorWithoutARelay(t *testing.T) {
	dir := filepath.Join(shortDir(t), "state")
	found, code := doctor(t, "--state-dir", dir, "--durability", "os")
	require.Zero(t, code, found)
	require.Contains(t, found["state directory"].What, "not there yet")
	require.Equal(t, "none runs here", found["relay"].What)
	require.Contains(t, found["sync"].What, "of a file takes")
	require.NoDirExists(t, dir, "it makes nothing")
}

func TestDoctorOnAFilesystemOfItsOwn(t *testing.T) {
	dir, reason := harness.Mount(t, "ext4", 32<<20, "")
	if reason != "" {
		t.Skip("a filesystem of its own is not shown here: ", reason)
	}
	found, code := doctor(t, "--state-dir", dir)
	require.Zero(t, code, found)
	require.Contains(t, found["durability"].What, "fsync-barrier")
	require.Contains(t, found["filesystem"].What, "ext4 of its own")
	require.Contains(t, found["barrier"].What, "syncfs")
	left, err := filepath.Glob(filepath.Join(dir, "doctor-*"))
	require.NoError(t, err)
	require.Empty(t, left, "its file is gone")

	space, err := broker.DiskSpace(dir)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, space.Free-1<<20), 0o600))
	found, code = doctor(t, "--state-dir", dir)
	require.Equal(t, exitFailure, code)
	require.Equal(t, levelFail, found["space"].Level)
	require.Contains(t, found["space"].Do, "507")
}

func TestDoctorWhereNothingIsKept(t *testing.T) {
	dir, reason := harness.Mount(t, "tmpfs", 16<<20, "")
	if reason != "" {
		t.Skip("a tmpfs is not shown here: ", reason)
	}
	found, code := doctor(t, "--state-dir", dir)
	require.Equal(t, exitFailure, code)
	require.Equal(t, levelFail, found["durability"].Level)
	require.Contains(t, found["durability"].What, "is in memory")
}

func TestDoctorOfARunningRelay(t *testing.T) {
	p := startServe(t)
	dir := filepath.Dir(p.socket())
	status, _ := p.post("/api/config_reports", report("a.example.com"))
	require.Equal(t, 201, status)
	found, code := doctor(t, "--state-dir", dir)
	require.Zero(t, code, found)
	require.Contains(t, found["state directory"].What, "held by process")
	require.Equal(t, "it takes requests", found["readiness"].What)
	require.Contains(t, found["store"].What, "it writes; 0 of 1024")
	require.Equal(t, levelWarn, found["queue"].Level)
	require.Contains(t, found["queue"].What, "nobody delivers its 1 messages")
	require.Contains(t, found["durability"].What, "os: ", "what it runs with counts, not the flags of this call")

	found, code = doctor(t, "--state-dir", dir, "--admin-socket", "/nowhere/admin.sock")
	require.Equal(t, exitFailure, code)
	require.Contains(t, found["relay"].What, "its admin socket does not answer")
}

func TestDoctorSpeaksToPeople(t *testing.T) {
	out, _, code := cli(t, "doctor", "--state-dir", shortDir(t), "--durability", "os")
	require.Zero(t, code)
	require.Contains(t, out, "warn  durability: os: ")
	require.Contains(t, out, "\n      choose --durability fsync")
	_, errs, code := cli(t, "doctor", "-o", "xml")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "choose table or json")
	found, code := doctor(t, "--state-dir", shortDir(t), "--durability", "os", "--listen", "0.0.0.0:1")
	require.Equal(t, exitFailure, code)
	require.Contains(t, found["configuration"].What, "can be reached from other machines")
}

func TestDoctorOfAQueue(t *testing.T) {
	for name, c := range map[string]struct {
		status relay.QueueStatus
		level  string
		what   string
	}{
		"in order":            {relay.QueueStatus{Pending: 3, Drain: "d", Breaker: "closed"}, levelOK, "3 pending"},
		"nobody, and nothing": {relay.QueueStatus{}, levelOK, "nothing is pending"},
		"nobody":              {relay.QueueStatus{Pending: 3}, levelWarn, "nobody delivers its 3 messages"},
		"open":                {relay.QueueStatus{Pending: 3, Drain: "d", Breaker: "open"}, levelWarn, "the circuit is open"},
		"nearly full":         {relay.QueueStatus{Pending: 3, Drain: "d", Bytes: 81, QuotaBytes: 100}, levelWarn, "81 % of its quota"},
		"full of the settled": {relay.QueueStatus{Drain: "d", Bytes: 99, QuotaBytes: 100}, levelOK, "0 pending"},
	} {
		f := examineQueue(c.status)
		require.Equal(t, c.level, f.Level, name)
		require.Contains(t, f.What, c.what, name)
		require.Equal(t, c.level == levelOK, f.Do == "", name)
	}
}

func TestDoctorOfTheClock(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "lock"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	require.Equal(t, levelOK, examineClock(dir, f, time.Now())[0].Level)
	found := examineClock(dir, f, time.Now().Add(-time.Hour))[0]
	require.Equal(t, levelWarn, found.Level)
	require.Contains(t, found.What, "1h0m0s in the future")
	past := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(f.Name(), past, past))
	found = examineClock(dir, f, time.Now())[0]
	require.Equal(t, levelWarn, found.Level)
	require.Contains(t, found.What, "a file just written is 1h0m0s off")
}

func TestDoctorOfLatency(t *testing.T) {
	for p50, want := range map[time.Duration]string{time.Millisecond: levelOK, 200 * time.Millisecond: levelWarn, 6 * time.Second: levelFail} {
		require.Equal(t, want, latency{p50: p50, p99: p50}.judge("sync", "", "a sync").Level, p50)
	}
	file, busy := latency{p50: 2 * time.Millisecond}, latency{p50: 87 * time.Millisecond}
	require.Equal(t, levelWarn, judgeBarrier("", busy, file).Level)
	require.Contains(t, judgeBarrier("", busy, file).Do, "of its own")
	require.Equal(t, levelOK, judgeBarrier("", latency{p50: 15 * time.Millisecond}, file).Level, "too short to matter")
	require.Equal(t, levelOK, judgeBarrier("", busy, latency{p50: 80 * time.Millisecond}).Level, "the disk itself")
}

func TestDoctorOfCertificates(t *testing.T) {
	now := time.Now()
	good, goodKey := certificate(t, now.Add(-time.Hour), now.Add(365*24*time.Hour))
	soon, _ := certificate(t, now.Add(-time.Hour), now.Add(7*24*time.Hour))
	over, _ := certificate(t, now.Add(-2*time.Hour), now.Add(-time.Hour))
	early, earlyKey := certificate(t, now.Add(time.Hour), now.Add(2*time.Hour))
	none := writeFile(t, "no certificate")
	for path, want := range map[string][2]string{
		good: {levelOK, "is valid until"}, soon: {levelWarn, "is valid until"}, over: {levelFail, "has ended on"},
		early: {levelFail, "is not valid before"}, none: {levelFail, "holds no certificate"}, "/nowhere": {levelFail, "no such file"},
	} {
		f := examineFile("tls.cert", path, now)
		require.Equal(t, want[0], f.Level, f)
		require.Contains(t, f.What, want[1])
	}
	require.Equal(t, levelOK, examineKey("tls.key", good, goodKey).Level)
	require.Equal(t, levelFail, examineKey("tls.key", good, earlyKey).Level)
	require.NoError(t, os.Chmod(goodKey, 0o644))
	f := examineKey("tls.key", good, goodKey)
	require.Equal(t, levelWarn, f.Level)
	require.Contains(t, f.What, "0644")

	all := examineCertificates(Config{TLS: TLS{Cert: good, Key: goodKey, ClientCA: soon}, Broker: Broker{CA: over}, Foreman: Foreman{CA: none}}, now)
	require.Len(t, all, 5)
}

func TestDoctorOfCRLs(t *testing.T) {
	now := time.Now()
	dir := filepath.Join(t.TempDir(), "pki")
	_, errs, code := cli(t, "pki", "init", dir)
	require.Zero(t, code, errs)
	ca, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"))
	require.NoError(t, err)
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour)}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.Leaf, ca.PrivateKey.(crypto.Signer))
	require.NoError(t, err)
	files := TLS{ClientCA: filepath.Join(dir, "ca.crt"), CRL: []string{writeFile(t, string(der))}}
	require.Equal(t, levelOK, examineCRLs(files, now).Level)
	late := examineCRLs(files, now.Add(2*time.Hour))
	require.Equal(t, levelWarn, late.Level)
	require.Contains(t, late.What, "should have been replaced by now")
	files.CRL = []string{writeFile(t, "no list")}
	require.Equal(t, levelFail, examineCertificates(Config{TLS: files}, now)[1].Level)
}

// certificate writes one that signs itself, and its key.
func certificate(t *testing.T, from, to time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "relay"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	cert = writeFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	key = writeFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	return cert, key
}
