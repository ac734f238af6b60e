package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/test/figure"
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
	return append(args, opaPolicy(root), data)
}

// opaInProcess measures decisions of OPA without a server around them, by its own benchmark: a prepared query, and
// the signature verified each time.
func (b *bench) opaInProcess(ctx context.Context, binary, data string, question example) error {
	input, err := json.Marshal(opaInput(question.raw, question.target))
	if err != nil {
		return err
	}
	file := filepath.Join(b.work, "input.json")
	if err := os.WriteFile(file, input, 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, binary, "bench", "--format", "json", "--count", strconv.Itoa(opaRuns),
		"--data", opaPolicy(b.root), "--data", data, "--input", file, "data.authz.allow")
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("opa bench: %w", err)
	}
	var runs []float64
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var run struct {
			N int64 // as testing.BenchmarkResult has it
			T int64
		}
		if err := dec.Decode(&run); errors.Is(err, io.EOF) {
			break
		} else if err != nil || run.N == 0 {
			return fmt.Errorf("opa bench: %s: %w", out, err)
		}
		runs = append(runs, float64(run.T)/float64(run.N))
	}
	b.figures = append(b.figures, figure.Summarize("opa-inprocess", "ns/op", runs))
	return nil
}

// opaRuns is how often OPA measures itself.
const opaRuns = 5

func opaPolicy(root string) string {
	return filepath.Join(root, "test", "benchauthz", "opa", "policy.rego")
}
