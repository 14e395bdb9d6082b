package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"time"
)

// newCertificate makes an authority, whose certificate it writes to a file, and a certificate of 127.0.0.1 signed by it.
func newCertificate(authority string) (tls.Certificate, error) {
	var none tls.Certificate
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return none, err
	}
	issuer := validFrom(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench authority"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	made, err := x509.CreateCertificate(rand.Reader, issuer, issuer, authorityKey.Public(), authorityKey)
	if err != nil {
		return none, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made})
	if err := os.WriteFile(authority, text, 0o644); err != nil {
		return none, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return none, err
	}
	own := validFrom(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "bench peer"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	made, err = x509.CreateCertificate(rand.Reader, own, issuer, key.Public(), authorityKey)
	return tls.Certificate{Certificate: [][]byte{made}, PrivateKey: key}, err
}

func validFrom(certificate *x509.Certificate) *x509.Certificate {
	certificate.NotBefore = time.Now().Add(-time.Hour)
	certificate.NotAfter = time.Now().Add(48 * time.Hour)
	return certificate
}
