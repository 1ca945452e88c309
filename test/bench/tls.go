package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// mutualTLS measures what a new connection with certificates on both sides
// costs, beside plain HTTP; a client that keeps its session spares most of it,
// where the edge lets it.
func (b *bench) mutualTLS() error {
	certs := filepath.Join(b.dir, "pki")
	if out, err := exec.Command(b.relay, "pki", "init", certs, "--host", "host.example.com").CombinedOutput(); err != nil {
		return fmt.Errorf("pki: %w: %s", err, out)
	}
	file := func(name string) string { return filepath.Join(certs, name) }
	config, err := clientTLS(file("ca.crt"), file("host.crt"), file("host.key"))
	if err != nil {
		return err
	}
	resuming := config.Clone()
	resuming.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	fmt.Println("| connection | clients | reports /s | p50, p99 |\n|---|---|---|---|")
	for _, shape := range []struct {
		name   string
		config *tls.Config
		anew   bool
	}{{"plain HTTP, kept", nil, false}, {"plain HTTP, one a report", nil, true}, {"mutual TLS, kept", config, false}, {"mutual TLS, one a report", config, true},
		{"mutual TLS, one a report, session resumed", resuming, true}} {
		for _, clients := range []int{16, 64} {
			f, err := b.overTLS(shape.config, shape.anew, clients, file)
			if err != nil {
				return err
			}
			fmt.Printf("| %s | %d | %.0f | %s, %s |\n", shape.name, clients, f.rate, short(f.p50), short(f.p99))
		}
	}
	return nil
}

func (b *bench) overTLS(config *tls.Config, anew bool, clients int, file func(string) string) (figures, error) {
	dir, clean, err := b.fresh()
	defer clean()
	if err != nil {
		return figures{}, err
	}
	var args []string
	if config != nil {
		// The clients send for many hosts, as a Puppet server does.
		settings := filepath.Join(b.dir, "identity.yaml")
		if err := os.WriteFile(settings, []byte("identity: {speaks_for: any}\n"), 0o600); err != nil {
			return figures{}, err
		}
		args = []string{"--config", settings, "--tls-cert", file("edge.crt"), "--tls-key", file("edge.key"), "--tls-client-ca", file("ca.crt")}
	}
	p, err := b.startRelay(dir, args...)
	if err != nil {
		return figures{}, err
	}
	defer p.stop()
	if _, err := p.readyOver(b.keepGoing, config); err != nil {
		return figures{}, err
	}
	return load{address: p.address, tls: config, anew: anew, paths: []string{reportPath}, clients: clients, time: b.time, body: reports(1<<10, 0)}.run(b.keepGoing)
}

func clientTLS(ca, cert, key string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in " + ca)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}, nil
}
