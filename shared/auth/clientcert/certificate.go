package clientcert

import (
	"crypto/x509"
	"encoding/asn1"
	"net/http"
	"slices"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

// fromTLS reads the certificate that was presented on the connection itself.
func fromTLS(r *http.Request, now time.Time) (Identity, bool, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return Identity{}, false, nil
	}
	if len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0]) == 0 {
		return Identity{}, false, unfit("the client certificate was not verified")
	}
	id, err := FromCertificate(r.TLS.VerifiedChains[0][0], now)
	return id, err == nil, err
}

// FromCertificate reads a leaf certificate whose chain someone has verified. It must be fit for a client of
// this platform: no authority, for client authentication, valid now, with one URI, which is the SPIFFE id of a
// workload, and the workload's service as its common name.
func FromCertificate(leaf *x509.Certificate, now time.Time) (Identity, error) {
	switch {
	case leaf.IsCA || leaf.KeyUsage&x509.KeyUsageCertSign != 0:
		return Identity{}, unfit("the client certificate is an authority's")
	case !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		return Identity{}, unfit("the client certificate is not for client authentication")
	case leaf.SerialNumber == nil || leaf.SerialNumber.Sign() <= 0 || leaf.SerialNumber.BitLen() > 8*maxSerial:
		return Identity{}, unfit("the client certificate has no serial number of a usable form")
	case now.Before(leaf.NotBefore):
		return Identity{}, auth.Refuse(auth.NotYetValid, "the client certificate is not valid yet")
	case now.After(leaf.NotAfter):
		return Identity{}, errExpired
	}
	uris := subjectURIs(leaf)
	if len(uris) != 1 {
		return Identity{}, mismatch("the client certificate has not exactly one URI, the SPIFFE id")
	}
	service, env, err := workload(uris[0])
	if err != nil {
		return Identity{}, err
	}
	if leaf.Subject.CommonName != service.String() {
		return Identity{}, mismatch("the client certificate's common name is not the service of its SPIFFE id")
	}
	return Identity{
		Service: service, Environment: env, Thumbprint: Thumbprint(leaf), Serial: leaf.SerialNumber.Text(16), NotAfter: leaf.NotAfter,
	}, nil
}

var errExpired = auth.Refuse(auth.Expired, "the client certificate has expired")

// The subject alternative name, and the form of a URI in it (RFC 5280 §4.2.1.6).
var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

const uriTag = 6

// subjectURIs returns the URIs of a certificate as they stand in it: net/url would lower their scheme and drop
// an empty fragment.
func subjectURIs(cert *x509.Certificate) []string {
	var uris []string
	for _, ext := range cert.Extensions {
		var names []asn1.RawValue
		if !ext.Id.Equal(oidSubjectAltName) {
			continue
		}
		if rest, err := asn1.Unmarshal(ext.Value, &names); err != nil || len(rest) > 0 {
			return nil
		}
		for _, n := range names {
			if n.Class == asn1.ClassContextSpecific && n.Tag == uriTag {
				uris = append(uris, string(n.Bytes))
			}
		}
	}
	return uris
}
