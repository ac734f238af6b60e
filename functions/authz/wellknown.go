package authz

import (
	"net/http"
	"strings"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/trust"
)

// publicCache is shorter than two keys overlap, so that nobody who keeps to it meets an unknown key.
const publicCache = "public, max-age=300, must-revalidate"

// jwks publishes the keys that verify access tokens (RFC 7517).
func (s *Service) jwks(w http.ResponseWriter, r *http.Request) error {
	st, err := s.trust.State(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", publicCache)
	return httpx.WriteJSON(w, http.StatusOK, st.Keys)
}

// metadata describes the authorization server (RFC 8414).
func (s *Service) metadata(w http.ResponseWriter, _ *http.Request) error {
	base := strings.TrimSuffix(s.cfg.URL, "/")
	w.Header().Set("Cache-Control", publicCache)
	grants := []string{grantClientCredentials}
	if s.deps.Assertions != nil {
		grants = append(grants, grantJWTBearer)
	}
	methods := []string{"isectech1_hmac_sha256"}
	if s.cfg.EnableMTLS {
		methods = append(methods, "tls_client_auth") // RFC 8705 §2.1.1
	}
	return httpx.WriteJSON(w, http.StatusOK, map[string]any{
		"issuer":                                auth.Issuer,
		"token_endpoint":                        base + "/internal/auth/token",
		"jwks_uri":                              base + "/.well-known/jwks.json",
		"introspection_endpoint":                base + "/internal/auth/introspect",
		"revocation_endpoint":                   base + "/internal/auth/revoke",
		"grant_types_supported":                 grants,
		"response_types_supported":              []string{},
		"scopes_supported":                      auth.AllScopes.Names(),
		"token_endpoint_auth_methods_supported": methods,
		// Everything else is asked with an access token too; what is left out here would mean a client's secret.
		"introspection_endpoint_auth_methods_supported": append([]string{"Bearer"}, methods...),
		"revocation_endpoint_auth_methods_supported":    append([]string{"Bearer"}, methods...),

		"tls_client_certificate_bound_access_tokens": s.cfg.EnableMTLS, // RFC 8705 §3.3
	})
}

// health says whether tokens can be judged and issued; the state of each dependency only to those who
// prove who they are.
func (s *Service) health(w http.ResponseWriter, r *http.Request) error {
	deps := map[string]string{"store": "ok", "signing_key": "ok"}
	status := http.StatusOK
	if _, err := s.deps.Store.Get(r.Context(), trust.PolicyRef); err != nil {
		deps["store"], status = "unavailable", http.StatusServiceUnavailable
	}
	if _, err := s.signers.current(r.Context()); err != nil {
		deps["signing_key"], status = "unavailable", http.StatusServiceUnavailable
	}
	_, _, err := s.guard.Caller(r, guard.Access{})
	told := err == nil
	if status != http.StatusOK {
		failed := httpx.Unavailable(5*time.Second, "something needed is out of reach").With("status", "unavailable")
		if told {
			failed = failed.With("dependencies", deps)
		}
		return failed
	}
	body := map[string]any{"status": "ok"}
	if told {
		body["dependencies"] = deps
	}
	return httpx.WriteJSON(w, status, body)
}

// metrics is the Prometheus exposition.
func (s *Service) metrics(w http.ResponseWriter, r *http.Request) error {
	if _, _, err := s.guard.Caller(r, guard.Access{AnyOf: []auth.Scopes{auth.MetricsRead}}); err != nil {
		return err
	}
	s.deps.Metrics.Handler().ServeHTTP(w, r)
	return nil
}
