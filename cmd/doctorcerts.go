package cmd

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/theforeman/foreman-relay/handlers"
)

// expiresSoon is when a certificate becomes a warning.
const expiresSoon = 30 * 24 * time.Hour

// examineCertificates looks at every certificate and key that the configuration
// names.
func examineCertificates(c Config, now time.Time) []finding {
	pairs := [][3]string{{"tls", c.TLS.Cert, c.TLS.Key}, {"broker", c.Broker.Cert, c.Broker.Key}, {"foreman", c.Foreman.Cert, c.Foreman.Key}}
	authorities := [][2]string{{"tls.client_ca", c.TLS.ClientCA}, {"broker.ca", c.Broker.CA}, {"foreman.ca", c.Foreman.CA}}
	for _, name := range c.destinations()[1:] {
		d, key := c.Destinations[name], "destinations."+name
		pairs, authorities = append(pairs, [3]string{key, d.Cert, d.Key}), append(authorities, [2]string{key + ".ca", d.CA})
	}
	var all []finding
	for _, pair := range pairs {
		if pair[1] != "" {
			all = append(all, examineFile(pair[0]+".cert", pair[1], now), examineKey(pair[0]+".key", pair[1], pair[2]))
		}
	}
	for _, ca := range authorities {
		if ca[1] != "" {
			all = append(all, examineFile(ca[0], ca[1], now))
		}
	}
	if len(c.TLS.CRL) > 0 {
		all = append(all, examineCRLs(c.TLS, now))
	}
	return all
}

// examineCRLs says whether the lists can be used, and are not older than their
// CAs wanted: who was revoked since is let in.
func examineCRLs(c TLS, now time.Time) finding {
	f := finding{Level: levelOK, Check: "tls.crl", Where: strings.Join(c.CRL, ", "), What: "each is signed by a client CA and of this time"}
	outdated, err := handlers.OutdatedCRLs(c.ClientCA, c.CRL, now)
	switch {
	case err != nil:
		f.Level, f.What, f.Do = levelFail, err.Error(), "name files with the lists of the CAs in tls.client_ca"
	case len(outdated) > 0:
		f.Level, f.What, f.Do = levelWarn, fmt.Sprintf("the list of %q should have been replaced by now", outdated[0]), "fetch a new one; the relay reads it by itself"
	}
	return f
}

// examineFile says when the first certificate of a file ends that does.
func examineFile(key, path string, now time.Time) finding {
	f := finding{Level: levelOK, Check: key, Where: path}
	certificates, err := readCertificates(path)
	if err != nil {
		f.Level, f.What, f.Do = levelFail, err.Error(), "name a file with certificates in PEM"
		return f
	}
	first := certificates[0]
	for _, cert := range certificates {
		if cert.NotAfter.Before(first.NotAfter) {
			first = cert
		}
		if now.Before(cert.NotBefore) {
			f.Level, f.What = levelFail, fmt.Sprintf("%q is not valid before %s", cert.Subject.String(), cert.NotBefore.UTC().Format(time.DateTime))
			f.Do = "set the clock right, or wait"
			return f
		}
	}
	f.What = fmt.Sprintf("%q is valid until %s", first.Subject.String(), first.NotAfter.UTC().Format(time.DateOnly))
	switch left := first.NotAfter.Sub(now); {
	case left <= 0:
		f.Level, f.What, f.Do = levelFail, fmt.Sprintf("%q has ended on %s", first.Subject.String(), first.NotAfter.UTC().Format(time.DateOnly)), "replace it"+again(key)
	case left < expiresSoon:
		f.Level, f.Do = levelWarn, "replace it before it ends"+again(key)
	}
	return f
}

// again: the edge's own files are read when they change, the others at the start.
func again(key string) string {
	if strings.HasPrefix(key, "tls.") {
		return "; the relay reads it by itself"
	}
	return ", and start the relay again"
}

// examineKey says whether a key belongs to its certificate, and who may read it.
func examineKey(key, cert, path string) finding {
	f := finding{Level: levelOK, Check: key, Where: path, What: "it belongs to its certificate"}
	if _, err := tls.LoadX509KeyPair(cert, path); err != nil {
		f.Level, f.What, f.Do = levelFail, err.Error(), "name the key of "+cert
		return f
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o007 != 0 {
		f.Level, f.What, f.Do = levelWarn, fmt.Sprintf("everybody on this machine may use it (mode %04o)", info.Mode().Perm()), "chmod o= "+path
		if isOutgoing := strings.HasPrefix(key, "foreman.") || strings.HasPrefix(key, "destinations."); isOutgoing {
			f.Level = levelFail // the relay does not start with it
		}
	}
	return f
}

func readCertificates(path string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return handlers.ParseCertificates(text)
}
