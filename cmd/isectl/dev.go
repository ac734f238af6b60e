package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/isectech/service-networking/cmd/isectl/internal/local"
)

// DevCmd runs the platform on this machine.
type DevCmd struct {
	Port    string `help:"Port to listen on; 0 takes any free one." env:"PORT" default:"8080" placeholder:"PORT"`
	DNSPort string `help:"Port to answer DNS on, over UDP and TCP; 0 takes any free one. Unless given, 8053, or any free one where that is taken." name:"dns-port" env:"DNS_PORT" placeholder:"PORT"`
}

// Run runs the platform until it is interrupted.
func (d *DevCmd) Run(ctx context.Context, a *app) error {
	return local.Run(ctx, local.Options{
		Dir: local.Dir(a.LocalDir), Port: d.Port, DNSPort: d.DNSPort, Lookup: a.lookup, Now: a.now, Logs: a.errs,
		Ready: func(info local.Info) { d.greet(a.out, a.LocalDir, info) },
	})
}

// greet says where the platform is and what to try.
func (d *DevCmd) greet(w io.Writer, dir string, info local.Info) {
	host, port, _ := strings.Cut(info.DNS, ":")
	fmt.Fprintf(w, `iSECTECH Service Networking is running at %[1]s
state in %[2]s, kept across restarts; make clean removes it; Ctrl-C stops

  authz       %[1]s/internal/auth/...
  register    %[1]s/internal/registry/...
  keys        %[1]s/.well-known/jwks.json
  Pub/Sub     %[3]s   (PUBSUB_EMULATOR_HOST for Google's clients; the project is "local")
  DNS         %[4]s   (dig @%[5]s -p %[6]s backend.internal.isectech.com)

In another terminal:

  bin/isectl token --as isectech-api-gateway --audience isectech-backend-services
  bin/isectl register -f examples/backend-services-001.json --as isectech-backend-services
  bin/isectl services
  bin/isectl resolve backend-services api
  bin/isectl watch
  bin/isectl journal verify

`, info.Server, dir, info.PubSub, info.DNS, host, port)
}
