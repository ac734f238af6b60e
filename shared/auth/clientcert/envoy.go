package clientcert

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// headerXFCC is the header in which Envoy tells of the certificate of its client.
const headerXFCC = "X-Forwarded-Client-Cert"

// envoySpeaks reports whether Envoy tells of a certificate. Empty, the header says that there was none.
func envoySpeaks(h http.Header) bool {
	values := h[headerXFCC]
	return len(values) > 1 || len(values) == 1 && values[0] != ""
}

// fromEnvoy reads Envoy's header. It must hold exactly one element: an Envoy that appends its own to what
// its client sent puts it last, one that forwards sends the client's alone, and nothing in the header says which
// of them this is. Envoy's mode SANITIZE_SET writes exactly one.
//
// Where the whole certificate is told, it is judged as if it had come on the connection; otherwise it has but a
// name and, as Envoy always says, a digest.
func fromEnvoy(r *http.Request, now time.Time) (Identity, bool, error) {
	if !envoySpeaks(r.Header) {
		return Identity{}, false, nil
	}
	values := r.Header[headerXFCC]
	switch {
	case len(values) > 1:
		return Identity{}, false, untrusted(headerXFCC + " is repeated")
	case balancerSilent(r.Header): // and passes on what its client wrote
		return Identity{}, false, untrusted(headerXFCC + " tells of a certificate that the load balancer did not see")
	}
	elements, err := parseXFCC(values[0])
	if err != nil {
		return Identity{}, false, untrusted(headerXFCC + " is not of the form that Envoy writes")
	}
	if len(elements) != 1 {
		return Identity{}, false, untrusted(headerXFCC + " tells of several certificates")
	}
	id, err := elements[0].identity(now)
	return id, err == nil, err
}

func (e element) identity(now time.Time) (Identity, error) {
	var id Identity
	if e.keys["hash"] {
		sum, err := hex.DecodeString(e.hash)
		if err != nil || len(sum) != sha256.Size {
			return id, untrusted("Hash in " + headerXFCC + " is no SHA-256")
		}
		id.Thumbprint, _ = parseFingerprint(e.hash)
	}
	if len(e.uri) != 1 {
		return Identity{}, mismatch("the client certificate has not exactly one URI, the SPIFFE id")
	}
	var err error
	if id.Service, id.Environment, err = workload(e.uri[0]); err != nil {
		return Identity{}, err
	}
	if !e.keys["cert"] && !e.keys["chain"] {
		return id, nil
	}
	leaf, err := e.leaf()
	if err != nil {
		return Identity{}, untrusted("Cert or Chain in " + headerXFCC + " is no certificate")
	}
	whole, err := FromCertificate(leaf, now)
	if err != nil {
		return Identity{}, err
	}
	return whole.join(id)
}

// leaf returns the client's certificate, which is Cert and the first of Chain.
func (e element) leaf() (*x509.Certificate, error) {
	var leaf *x509.Certificate
	if e.keys["cert"] {
		der, rest, err := cutPEM(e.cert)
		if err != nil || rest != "" {
			return nil, errXFCC
		}
		if leaf, err = x509.ParseCertificate(der); err != nil {
			return nil, err
		}
	}
	if !e.keys["chain"] {
		return leaf, nil
	}
	der, _, err := cutPEM(e.chain)
	switch {
	case err != nil:
		return nil, err
	case leaf == nil:
		return x509.ParseCertificate(der)
	case !bytes.Equal(der, leaf.Raw):
		return nil, errXFCC
	}
	return leaf, nil
}

// cutPEM returns the certificate at the start of URL-encoded PEM, and what follows it.
func cutPEM(s string) (der []byte, rest string, err error) {
	text, err := url.PathUnescape(s)
	if err != nil || !strings.HasPrefix(text, "-----BEGIN CERTIFICATE-----\n") {
		return nil, "", errXFCC
	}
	block, after := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
		return nil, "", errXFCC
	}
	return block.Bytes, string(after), nil
}
