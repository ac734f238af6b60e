package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/isectech/service-networking/cmd/isectl/internal/client"
	"github.com/isectech/service-networking/shared/auth/policy"
)

// ExplainCmd shows how a decision came about.
type ExplainCmd struct {
	DecisionID string `arg:"" help:"Id that came with the decision."`
}

// Run asks authz for the rules.
func (e *ExplainCmd) Run(ctx context.Context, a *app) error {
	answer, err := a.asOperator(ctx, client.Call{
		Method: http.MethodGet, Path: []string{"internal", "auth", "decisions", e.DecisionID},
	})
	if err != nil {
		return err
	}
	var d struct {
		decision

		DecidedAt string        `json:"decided_at"`
		Caller    string        `json:"caller"`
		Target    string        `json:"target"`
		Audience  string        `json:"audience"`
		Method    string        `json:"method"`
		Path      string        `json:"path"`
		Rules     []policy.Rule `json:"rules"`
		Fix       string        `json:"fix"`
	}
	if err := answer.Decode(&d); err != nil {
		return err
	}
	return a.print(answer.Body, func(w io.Writer) {
		fmt.Fprintf(w, "%s %s", d.Decision, d.Reason)
		if d.Message != "" {
			fmt.Fprintf(w, ": %s", d.Message)
		}
		fmt.Fprintln(w)
		for _, line := range []struct{ name, value string }{
			{"decided", d.DecidedAt}, {"caller", d.Caller}, {"environment", d.Environment}, {"credential", d.AuthMethod},
			{"target", d.Target}, {"audience", d.Audience}, {"request", strings.TrimSpace(d.Method + " " + d.Path)},
			{"scopes", strings.Join(d.Scopes, " ")}, {"needs", strings.Join(d.Required, " ")},
			{"policy", positive(d.PolicyVersion)}, {"fix", d.Fix},
		} {
			if line.value != "" {
				fmt.Fprintf(w, "%s\t%s\n", line.name, line.value)
			}
		}
		for _, r := range d.Rules {
			fmt.Fprintf(w, "%s\t%s\t%s", r.Rule, r.Outcome, r.Detail)
			if r.Path != "" {
				fmt.Fprintf(w, " (%s)", r.Path)
			}
			fmt.Fprintln(w)
		}
	})
}

// asOperator makes a call with the operator's token.
func (a *app) asOperator(ctx context.Context, call client.Call) (client.Answer, error) {
	return Acting{}.call(ctx, a, call)
}

// call makes a call in the name that the flags say.
func (s Acting) call(ctx context.Context, a *app, call client.Call) (client.Answer, error) {
	c, err := a.connect()
	if err != nil {
		return client.Answer{}, err
	}
	if call.Token, err = s.bearer(ctx, a, c, s.Environment); err != nil {
		return client.Answer{}, err
	}
	return c.Do(ctx, call)
}

// positive formats a number that counts from 1, and nothing where there is none.
func positive(n int64) string {
	if n < 1 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// VersionCmd prints what this binary was built from.
type VersionCmd struct{}

// Run prints the version and that of Go.
func (*VersionCmd) Run(a *app) error {
	body, err := json.Marshal(map[string]string{"version": version(), "go": runtime.Version()})
	if err != nil {
		return err
	}
	return a.print(body, func(w io.Writer) { fmt.Fprintf(w, "isectl %s (%s)\n", version(), runtime.Version()) })
}

// version is that of the module, with the commit where the build recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
