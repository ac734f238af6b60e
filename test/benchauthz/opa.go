package main

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/isectech/service-networking/shared/auth/policy"
)

// opaData is the shipped policy as OPA's policy reads it.
func opaData(jwks string) map[string]any {
	doc := policy.Default()
	grants := map[string][]string{}
	edges := map[string]map[string][]string{}
	for name, service := range doc.Services {
		grants[name] = service.Scopes
	}
	for _, e := range doc.Edges {
		edges[e.Caller] = map[string][]string{}
		for _, to := range e.Targets {
			edges[e.Caller][to] = doc.Services[e.Caller].Environments
		}
	}
	return map[string]any{"bench": map[string]any{
		"jwks": jwks, "grants": grants, "edges": edges, "revoked": map[string]bool{}, "quarantined": map[string]bool{},
	}}
}

// writeOPAData writes it into the platform's directory.
func writeOPAData(dir string) (string, error) {
	jwks, err := os.ReadFile(filepath.Join(dir, "jwks.json"))
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(opaData(string(jwks)))
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "data.json")
	return file, os.WriteFile(file, data, 0o600)
}

// opaArguments start OPA's server as its documentation advises for production, with as little logged as can be.
func opaArguments(root, data, address string, cached bool) []string {
	args := []string{
		"run", "--server", "--addr", address, "--log-level", "error", "--skip-version-check",
	}
	if cached {
		args = append(args, "--set", "caching.inter_query_builtin_value_cache.named.io_jwt.max_num_entries=100000")
	}
	return append(args, filepath.Join(root, "test", "benchauthz", "opa", "policy.rego"), data)
}
