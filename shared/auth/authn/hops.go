package authn

import (
	"net/http"
	"strings"
)

// HeaderProxyMarker is the secret by which a proxy in front of us proves that it is ours.
const HeaderProxyMarker = "X-ISECTECH-Proxy-Marker"

// marker is that header in the form that http.Header knows it by.
var marker = http.CanonicalHeaderKey(HeaderProxyMarker)

// headerXFCC is Envoy's header about client certificates.
const headerXFCC = "X-Forwarded-Client-Cert"

// Hops tells proxies of ours from everyone else.
type Hops struct {
	// Match reports, in constant time, whether a value of HeaderProxyMarker is one of ours. Nil trusts nobody.
	Match func(marker string) bool

	// Proxies of ours that do not tell of client certificates by a kind of headers pass on what their clients wrote
	// there: the load balancer's X-Client-Cert-*, or Envoy's X-Forwarded-Client-Cert.
	NoBalancer, NoEnvoy bool

	// Depth is how many proxies of ours add themselves to X-Forwarded-For; 0 means 1.
	Depth int
}

// Clean takes the proxy marker off r and, unless it proves the hop, every header by which only a proxy
// may speak. It reports whether the hop is proven, and which headers were taken off: an
// attempt to speak as the proxy, unless a harmless forwarding header is all there was.
//
// A client certificate on the connection is its sender's. From a proven hop that is the proxy, for which nobody is
// to be taken whom it speaks for: r is left without it, and only the proxy's headers tell of one.
func (h Hops) Clean(r *http.Request) (proven bool, stripped []string) {
	values := r.Header[marker]
	proven = len(values) == 1 && h.Match != nil && h.Match(values[0])
	if len(values) > 0 {
		r.Header.Del(HeaderProxyMarker)
		if !proven {
			stripped = append(stripped, HeaderProxyMarker)
		}
	}
	if proven && r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		connection := *r.TLS
		connection.PeerCertificates, connection.VerifiedChains = nil, nil
		r.TLS = &connection
	}
	for name := range r.Header {
		switch class := classify(name); {
		case class == answer, class == identity && !(proven && h.tell(name)):
			// What we answer with is never what we are asked with, whoever asks.
			delete(r.Header, name)
			stripped = append(stripped, name)
		case class == forwarding && !proven:
			delete(r.Header, name)
		}
	}
	return proven, stripped
}

// tell reports whether proxies of ours set a header that tells of a client certificate.
func (h Hops) tell(name string) bool {
	if name == headerXFCC {
		return !h.NoEnvoy
	}
	return !h.NoBalancer
}

type class int

const (
	ordinary class = iota
	identity
	forwarding
	answer
)

func classify(name string) class {
	switch {
	case !strings.HasPrefix(name, "X-"):
		return ordinary
	case strings.HasPrefix(name, "X-Client-Cert-"), name == headerXFCC:
		return identity
	case strings.HasPrefix(name, "X-Auth-"):
		return answer
	case name == headerForwardedMethod, name == headerForwardedURI, name == headerForwardedHost, name == headerForwardedFor,
		name == headerOriginalURI, name == headerOriginalURL, name == headerOriginalMethod:
		return forwarding
	}
	return ordinary
}
