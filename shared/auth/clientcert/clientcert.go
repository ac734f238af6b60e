// Package clientcert reads who presented a client certificate: from the TLS connection itself, or from the
// headers by which a proxy that ended the connection tells of it, Google's load balancer or Envoy.
//
// The headers are words, not proof. Whoever calls this package has made sure that a proxy of ours said them
// (authn.Hops), and that what remains of the connection is the caller's own. They are read strictly all the
// same, since a proxy may pass on what its client wrote: what is malformed, repeated or contradictory is
// refused and never passed over.
//
// Refusals are *auth.Refusal. Their reasons:
//
//	untrusted_proxy    the headers do not have their form, or contradict each other
//	bad_signature      no chain was verified, or the certificate is not one for clients
//	not_yet_valid      its time has not come
//	expired            its time is over
//	identity_mismatch  it names no workload of this platform, or several, or its parts name different ones
package clientcert

import (
	"net/http"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

// Identity is what a client certificate says. What a proxy did not tell is zero; the service and its
// environment are always there.
type Identity struct {
	Service     auth.Subject
	Environment auth.Environment
	Thumbprint  string    // base64url SHA-256 of the certificate, as cnf.x5t#S256 of a token has it (RFC 8705)
	Serial      string    // lower-case hex without leading zeros
	NotAfter    time.Time // the last moment of its validity
}

// Reader reads the client certificates of requests.
type Reader struct {
	Now func() time.Time
}

// Present reports whether a client certificate came with r, or anything that says so.
func Present(r *http.Request) bool {
	return r.TLS != nil && len(r.TLS.PeerCertificates) > 0 || balancerSpeaks(r.Header) || envoySpeaks(r.Header)
}

// Read returns who presented a client certificate; ok is false where none came. Where it is told of in
// several ways all of them must agree.
func (c *Reader) Read(r *http.Request) (id Identity, ok bool, err error) {
	if !Present(r) {
		return Identity{}, false, nil
	}
	now := c.Now()
	for _, source := range [...]func(*http.Request, time.Time) (Identity, bool, error){fromTLS, fromBalancer, fromEnvoy} {
		one, told, err := source(r, now)
		if err != nil {
			return Identity{}, false, err
		}
		if !told {
			continue
		}
		if ok {
			if one, err = id.join(one); err != nil {
				return Identity{}, false, err
			}
		}
		id, ok = one, true
	}
	return id, ok, nil
}

// join returns what two accounts of one certificate say together.
func (id Identity) join(other Identity) (Identity, error) {
	if id.Service != other.Service || id.Environment != other.Environment {
		return Identity{}, mismatch("the client certificate is told of in two ways that name different workloads")
	}
	switch {
	case id.Thumbprint == "":
		id.Thumbprint = other.Thumbprint
	case other.Thumbprint != "" && other.Thumbprint != id.Thumbprint:
		return Identity{}, errTwoCertificates
	}
	switch {
	case id.Serial == "":
		id.Serial = other.Serial
	case other.Serial != "" && other.Serial != id.Serial:
		return Identity{}, errTwoCertificates
	}
	switch {
	case id.NotAfter.IsZero():
		id.NotAfter = other.NotAfter
	case !other.NotAfter.IsZero() && !other.NotAfter.Equal(id.NotAfter):
		return Identity{}, errTwoCertificates
	}
	return id, nil
}

var errTwoCertificates = untrusted("the client certificate is told of in two ways that contradict each other")

func untrusted(detail string) error { return auth.Refuse(auth.UntrustedProxy, detail) }
func unfit(detail string) error     { return auth.Refuse(auth.BadSignature, detail) }
func mismatch(detail string) error  { return auth.Refuse(auth.IdentityMismatch, detail) }
