package guard

import (
	"time"

	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/auth/clientcert"
	"github.com/isectech/service-networking/shared/platform/config"
)

// Outside has g go by what the configuration says of the world in front of it: which hops are proxies of ours, what
// they may tell of, and whether client certificates prove who calls.
func (g *Guard) Outside(c *config.Base, now func() time.Time) {
	g.Hops = authn.Hops{
		Match: c.TrustedProxyMarker.Match, Depth: c.TrustedProxyHops,
		NoBalancer: !c.ProxyCertificates.Google(), NoEnvoy: !c.ProxyCertificates.Envoy(),
	}
	g.Certificates = nil
	if c.EnableMTLS {
		g.Certificates = &clientcert.Reader{Now: now}
	}
}
