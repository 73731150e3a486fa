package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Life of certificates; longer than any run.
const validFor = 30 * 24 * time.Hour

// Who is who on this server.
type identity struct {
	folder string
	// Paths of PEM files.
	authority, certificate, key string
	root, admin                 *pair
}

// newIdentity makes an authority, the server's certificate and that of an administrator.
func newIdentity(folder string) (*identity, error) {
	root, err := newCertificate(&x509.Certificate{
		Subject:               pkix.Name{CommonName: "kube-test"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}, nil)
	if err != nil {
		return nil, err
	}
	serving, err := newCertificate(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		DNSNames:    []string{"localhost", "kubernetes.default.svc"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, root)
	if err != nil {
		return nil, err
	}
	admin, err := newCertificate(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "test", Organization: []string{"system:masters"}},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, root)
	if err != nil {
		return nil, err
	}
	who := &identity{
		folder:      folder,
		root:        root,
		admin:       admin,
		authority:   filepath.Join(folder, "ca.pem"),
		certificate: filepath.Join(folder, "server.pem"),
		key:         filepath.Join(folder, "server-key.pem"),
	}
	files := map[string][]byte{
		who.authority:   root.certificatePEM(),
		who.certificate: serving.certificatePEM(),
		who.key:         serving.keyPEM,
	}
	for path, content := range files {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return nil, err
		}
	}
	return who, nil
}

// A certificate with its key.
type pair struct {
	parsed *x509.Certificate
	key    crypto.Signer
	keyPEM []byte
}

func (p *pair) certificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.parsed.Raw})
}

// newCertificate signs what template says; without a parent, by itself.
func newCertificate(template *x509.Certificate, parent *pair) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = template.NotBefore.Add(validFor)
	above, signer := template, crypto.Signer(key)
	if parent != nil {
		above, signer = parent.parsed, parent.key
	}
	bytes, err := x509.CreateCertificate(rand.Reader, template, above, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(bytes)
	if err != nil {
		return nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &pair{parsed, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})}, nil
}

// writeKubeconfig writes that of the administrator, whole or not at all, and returns its path. JSON is YAML.
func (i *identity) writeKubeconfig(server string) (string, error) {
	encode := base64.StdEncoding.EncodeToString
	text := fmt.Appendf(nil, `{
  "apiVersion": "v1",
  "kind": "Config",
  "clusters": [{"name": "test", "cluster": {"server": %q, "certificate-authority-data": %q}}],
  "users": [{"name": "test", "user": {"client-certificate-data": %q, "client-key-data": %q}}],
  "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
  "current-context": "test"
}
`, server, encode(i.root.certificatePEM()), encode(i.admin.certificatePEM()), encode(i.admin.keyPEM))
	path := filepath.Join(i.folder, "kubeconfig")
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return "", err
	}
	return path, os.Rename(path+".new", path)
}
