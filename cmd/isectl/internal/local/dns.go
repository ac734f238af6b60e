package local

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/isectech/service-networking/cmd/isectl/internal/nameserver"
)

// dnsPort is where DNS is answered unless the options say otherwise and nobody else is there.
const dnsPort = "8053"

// listenDNS opens the server of the registry's zone, which answers from the registry as it is at each question.
func (o Options) listenDNS(ctx context.Context, zone nameserver.Source, logger *slog.Logger) (*nameserver.Server, error) {
	if o.DNSPort != "" {
		server, err := nameserver.Listen(ctx, o.DNSPort, zone, logger)
		if err != nil {
			return nil, fmt.Errorf("DNS_PORT: %w", err)
		}
		return server, nil
	}
	server, err := nameserver.Listen(ctx, dnsPort, zone, logger)
	if err == nil {
		return server, nil
	}
	if server, err = nameserver.Listen(ctx, "0", zone, logger); err != nil { // another platform runs here
		return nil, fmt.Errorf("listen for DNS: %w", err)
	}
	return server, nil
}
