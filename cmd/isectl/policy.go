package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/isectech/service-networking/cmd/isectl/internal/check"
	"github.com/isectech/service-networking/cmd/isectl/internal/client"
	"github.com/isectech/service-networking/shared/auth/policy"
)

// PolicyCmd are the commands about the policy.
type PolicyCmd struct {
	Show  PolicyShowCmd  `cmd:"" help:"Print the policy in force, or an earlier one."`
	Check PolicyCheckCmd `cmd:"" help:"Say what is wrong with a policy document, and what deserves a second look."`
	Diff  PolicyDiffCmd  `cmd:"" help:"Show every decision that a policy document would change."`
	Apply PolicyApplyCmd `cmd:"" help:"Show what a policy document would change, ask, and put it in force."`
}

// policyPath is where the platform keeps the policy.
func policyPath() []string { return []string{"internal", "auth", "policy"} }

// PolicyShowCmd prints the policy document.
type PolicyShowCmd struct {
	Version int64 `help:"Version to print; unless given, the one in force." placeholder:"N"`
}

// Run prints the document as it can be edited and checked.
func (s *PolicyShowCmd) Run(ctx context.Context, a *app) error {
	query := url.Values{}
	if s.Version != 0 {
		query.Set("version", strconv.FormatInt(s.Version, 10))
	}
	answer, err := a.asOperator(ctx, client.Call{Method: http.MethodGet, Path: policyPath(), Query: query})
	if err != nil {
		return err
	}
	var document json.RawMessage
	if err := answer.Decode(&document); err != nil {
		return err
	}
	pretty, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return err
	}
	return a.print(answer.Body, func(w io.Writer) { fmt.Fprintf(w, "%s\n", pretty) })
}

// PolicyCheckCmd judges a policy document.
type PolicyCheckCmd struct {
	File string `arg:"" help:"Policy document; - is standard input." default:"-"`
}

// Run prints what is found; errors, not warnings, make it fail.
func (c *PolicyCheckCmd) Run(a *app) error {
	data, err := a.read(c.File)
	if err != nil {
		return err
	}
	return a.printFindings(check.Policy(data))
}

// printFindings prints a verdict, and fails where it is that the document cannot be used.
func (a *app) printFindings(verdict check.DocumentVerdict) error {
	body, err := json.Marshal(verdict)
	if err != nil {
		return err
	}
	err = a.print(body, func(w io.Writer) {
		for _, f := range verdict.Findings {
			path := f.Path
			if path == "" {
				path = "(document)"
			}
			fmt.Fprintf(w, "%s\t%s\t%s (%s)\n", f.Severity, path, f.Message, f.Code)
		}
		if len(verdict.Findings) == 0 {
			fmt.Fprintln(w, "no findings")
		}
	})
	if err == nil && !verdict.Valid {
		return errTold
	}
	return err
}

// stated is a policy with the text that it was read from, and its version where it has one.
type stated struct {
	*policy.Policy

	document *policy.Document
	tag      string // the entity tag of the one in force
	version  int64
}

// state compiles a document that is a policy without errors.
func state(data []byte) (stated, error) {
	document, findings, err := policy.Parse(data)
	if err != nil {
		return stated{}, fmt.Errorf("%w%s", err, list(findings))
	}
	compiled, err := policy.Compile(document, 1)
	return stated{Policy: compiled, document: document}, err
}

// statedIn reads a policy from a file.
func (a *app) statedIn(file string) (stated, error) {
	data, err := a.read(file)
	if err != nil {
		return stated{}, err
	}
	s, err := state(data)
	if err != nil {
		return stated{}, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// running reads the policy in force.
func (a *app) running(ctx context.Context) (stated, error) {
	answer, err := a.asOperator(ctx, client.Call{Method: http.MethodGet, Path: policyPath()})
	if err != nil {
		return stated{}, err
	}
	s, err := state(answer.Body)
	if err != nil {
		return stated{}, fmt.Errorf("the policy in force: %w", err)
	}
	s.tag = answer.Header.Get("ETag")
	s.version, err = strconv.ParseInt(answer.Header.Get("X-Policy-Version"), 10, 64)
	if err != nil || s.tag == "" {
		return stated{}, errors.New("the platform does not say which version of the policy is in force")
	}
	return s, nil
}

// PolicyDiffCmd compares policies.
type PolicyDiffCmd struct {
	File    string `arg:"" help:"Policy document; - is standard input."`
	Against string `help:"What to compare it with: running, or another document." default:"running" placeholder:"FILE"`
	Limit   int    `help:"Most changes to list, 0 for all; the numbers are always exact." default:"100" placeholder:"N"`
}

// Run prints every decision that would change.
func (d *PolicyDiffCmd) Run(ctx context.Context, a *app) error {
	if d.Limit < 0 {
		return usagef("--limit: want 0 or more")
	}
	next, err := a.statedIn(d.File)
	if err != nil {
		return err
	}
	var before stated
	if d.Against == "running" {
		before, err = a.running(ctx)
	} else {
		before, err = a.statedIn(d.Against)
	}
	if err != nil {
		return err
	}
	changes := policy.Diff(before.Policy, next.Policy, d.Limit)
	body, err := json.Marshal(changes)
	if err != nil {
		return err
	}
	return a.print(body, func(w io.Writer) { writeChanges(w, changes) })
}

// PolicyApplyCmd puts a policy in force.
type PolicyApplyCmd struct {
	File  string `arg:"" help:"Policy document; - is standard input, with --yes."`
	Yes   bool   `help:"Do not ask: for pipelines, and with --output json."`
	Limit int    `help:"Most changes to list, 0 for all; the numbers are always exact." default:"100" placeholder:"N"`
}

// Run shows the changes, asks, and replaces the policy that it has shown them against, and no other.
func (p *PolicyApplyCmd) Run(ctx context.Context, a *app) error {
	switch {
	case p.Limit < 0:
		return usagef("--limit: want 0 or more")
	case !p.Yes && (!a.asked || p.File == "-" || a.Output == "json"):
		return usagef("nobody can be asked here: look at isectl policy diff, then say --yes")
	}
	next, err := a.statedIn(p.File)
	if err != nil {
		return err
	}
	before, err := a.running(ctx)
	if err != nil {
		return err
	}
	body, err := json.Marshal(next.document)
	if err != nil {
		return err
	}
	changes := policy.Diff(before.Policy, next.Policy, p.Limit)
	if a.Output != "json" {
		fmt.Fprintf(a.out, "against version %d, which is in force:\n", before.version)
		if err := a.print(nil, func(w io.Writer) { writeChanges(w, changes) }); err != nil {
			return err
		}
	}
	if !p.Yes {
		if yes, err := confirm(a.in, a.errs, "put this policy in force?"); err != nil || !yes {
			return errors.Join(errors.New("nothing was changed"), err)
		}
	}
	answer, err := a.asOperator(ctx, client.Call{
		Method: http.MethodPut, Path: policyPath(), Type: "application/json", Body: body,
		Header: http.Header{"If-Match": {before.tag}},
	})
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.Status == http.StatusPreconditionFailed && a.Output != "json" {
		return fmt.Errorf("somebody else has changed the policy meanwhile, and nothing was written: run this again to see what it would change now\n%w", err)
	}
	if err != nil {
		return err
	}
	return a.printApplied(answer, changes)
}

// printApplied prints what became of the policy.
func (a *app) printApplied(answer client.Answer, changes policy.Comparison) error {
	var applied struct {
		Version  int64            `json:"version"`
		Changed  bool             `json:"changed"`
		Findings []policy.Finding `json:"findings"`
		Diff     any              `json:"diff"`
	}
	if err := answer.Decode(&applied); err != nil {
		return err
	}
	applied.Diff = changes
	body, err := json.Marshal(applied)
	if err != nil {
		return err
	}
	return a.print(body, func(w io.Writer) {
		for _, f := range applied.Findings {
			fmt.Fprintln(w, f)
		}
		if applied.Changed {
			fmt.Fprintf(w, "version %d is in force\n", applied.Version)
		} else {
			fmt.Fprintf(w, "version %d, which is in force, says the same: nothing was written\n", applied.Version)
		}
	})
}

// confirm asks for a yes. Whatever else comes is none.
func confirm(in io.Reader, out io.Writer, question string) (bool, error) {
	fmt.Fprintf(out, "%s [yes/no] ", question)
	line, err := bufio.NewReader(io.LimitReader(in, 100)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	said := strings.ToLower(strings.TrimSpace(line))
	return said == "yes" || said == "y", nil
}

// isTerminal reports whether somebody may sit at the other end.
func isTerminal(in io.Reader) bool {
	file, ok := in.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	nobody, err := os.Stat(os.DevNull)
	return err == nil && !os.SameFile(info, nobody)
}
