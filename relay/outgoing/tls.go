package outgoing

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// tls is what is spoken with this destination, and with no other.
func (o Options) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: max(tls.VersionTLS12, o.MinVersion), ServerName: o.ServerName}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("CA of %s: %w", o.Name, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA of %s: %s holds no certificate in PEM", o.Name, o.CAFile)
		}
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, fmt.Errorf("the client certificate for %s needs both its file and that of its key", o.Name)
	}
	if o.CertFile != "" {
		if err := keptPrivate(o.KeyFile); err != nil {
			return nil, fmt.Errorf("client certificate for %s: %w", o.Name, err)
		}
		cert, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate for %s, %s and %s: %w", o.Name, o.CertFile, o.KeyFile, err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return config, nil
}
