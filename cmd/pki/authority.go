package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"time"
)

// authority is a CA that can sign.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
	credential  credential
}

// credential is a certificate and its key, as they go into files.
type credential struct {
	certificate, key []byte
	notAfter         time.Time
}

// newAuthority makes a CA and signs it with its own key.
func newAuthority(name string, now time.Time) (authority, error) {
	key, err := newECDSAKey()
	if err != nil {
		return authority{}, err
	}
	template := caTemplate(name, now)
	a := authority{certificate: template, key: key.signer}
	if a.credential, err = a.sign(template, key); err != nil {
		return authority{}, err
	}
	a.certificate, err = parseCertificate(a.credential.certificate)
	return a, err
}

// issue makes a key and a certificate for it.
func (a *authority) issue(r Request) (credential, error) {
	key, err := newKey(r.Use)
	if err != nil {
		return credential{}, err
	}
	template := r.template()
	template.NotBefore = later(notBefore(r.Now), a.certificate.NotBefore)
	template.NotAfter = earlier(template.NotBefore.Add(r.Validity), a.certificate.NotAfter)
	return a.sign(template, key)
}

// sign fills in what every certificate has: a serial number, and the ids of the
// key and of its issuer's key.
func (a *authority) sign(template *x509.Certificate, key privateKey) (credential, error) {
	var err error
	if template.SerialNumber, err = newSerial(); err != nil {
		return credential{}, err
	}
	if template.SubjectKeyId, err = keyID(key.signer.Public()); err != nil {
		return credential{}, err
	}
	if template.AuthorityKeyId, err = keyID(a.key.Public()); err != nil {
		return credential{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.signer.Public(), a.key)
	if err != nil {
		return credential{}, fmt.Errorf("the certificate cannot be made: %w", err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: der})
	return credential{certificate: block, key: key.pem, notAfter: template.NotAfter}, nil
}

// loadAuthority reads the CA that Init made in dir, and refuses one that could
// not sign anything valid now.
func loadAuthority(dir string, now time.Time) (authority, error) {
	if dir == "" {
		return authority{}, invalid("name the directory that the CA is in")
	}
	files := pairIn(dir, caFile)
	text, err := readCAFile(files.Certificate)
	if err != nil {
		return authority{}, err
	}
	certificate, err := parseCertificate(text)
	if err != nil {
		return authority{}, fmt.Errorf("%s: %w", files.Certificate, err)
	}
	text, err = readCAFile(files.Key)
	if err != nil {
		return authority{}, err
	}
	key, err := parseKey(text)
	if err != nil {
		return authority{}, fmt.Errorf("%s: %w", files.Key, err)
	}
	a := authority{certificate: certificate, key: key}
	return a, a.check(files, now)
}

func readCAFile(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no CA here, %s does not exist: create the CA first, or name its directory: %w", path, fs.ErrNotExist)
	}
	return text, err
}

func (a *authority) check(files Pair, now time.Time) error {
	c := a.certificate
	switch {
	case !c.BasicConstraintsValid || !c.IsCA || c.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("%s is not the certificate of a CA: name the directory of a CA", files.Certificate)
	case !samePublicKey(a.key, c):
		return fmt.Errorf("%s is not the key of %s: put back the two files that belong together", files.Key, files.Certificate)
	case now.After(c.NotAfter):
		return fmt.Errorf("%s expired at %s: create a new CA in another directory", files.Certificate, c.NotAfter.Format(time.RFC3339))
	case now.Before(c.NotBefore):
		return fmt.Errorf("%s is not valid before %s: check the clock", files.Certificate, c.NotBefore.Format(time.RFC3339))
	default:
		return nil
	}
}

func parseCertificate(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != certificateBlock {
		return nil, errors.New("no certificate in PEM form: restore the file")
	}
	return x509.ParseCertificate(block.Bytes)
}

// newSerial is 128 random bits, never 0 (RFC 5280, 4.1.2.2).
func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err == nil && serial.Sign() == 0 {
		return newSerial()
	}
	return serial, err
}

// keyID is method 1 of RFC 7093: 160 bits of the SHA-256 of the public key.
func keyID(public crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(info.Key.Bytes)
	return sum[:20], nil
}
