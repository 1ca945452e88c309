package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
)

const (
	certificateBlock = "CERTIFICATE"
	pkcs8Block       = "PRIVATE KEY"
	pkcs1Block       = "RSA PRIVATE KEY"

	rsaBits = 3072 // 128 bits of security, as P-256
)

// privateKey is a key and its file.
type privateKey struct {
	signer crypto.Signer
	pem    []byte
}

// newKey makes the key for a use. A host gets RSA: Puppet's report processor
// reads its key with OpenSSL::PKey::RSA.new, which takes nothing else.
func newKey(use Use) (privateKey, error) {
	if use == Host {
		return newRSAKey()
	}
	return newECDSAKey()
}

func newECDSAKey() (privateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return privateKey{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return privateKey{}, err
	}
	return privateKey{key, pem.EncodeToMemory(&pem.Block{Type: pkcs8Block, Bytes: der})}, nil
}

func newRSAKey() (privateKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return privateKey{}, err
	}
	der := x509.MarshalPKCS1PrivateKey(key)
	return privateKey{key, pem.EncodeToMemory(&pem.Block{Type: pkcs1Block, Bytes: der})}, nil
}

// parseKey reads the key of a CA.
func parseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pkcs8Block {
		return nil, errors.New("no private key in PEM form (PKCS#8, not encrypted): restore the file")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the private key cannot sign: restore the file")
	}
	return signer, nil
}

func samePublicKey(key crypto.Signer, certificate *x509.Certificate) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(certificate.PublicKey)
}
