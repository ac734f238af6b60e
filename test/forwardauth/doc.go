// Package forwardauth holds the configurations of examples/forward-auth to what docs/forward-auth.md says of them:
// NGINX and Caddy run with them before a real authz, and for Envoy, Traefik and Kong, which no package of Debian
// has, requests are made as those proxies make them from what the files say.
//
// Where NGINX or Caddy is missing (make deps installs them) its tests are skipped; with CI=true they fail instead.
package forwardauth
