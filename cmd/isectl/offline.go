package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/isectech/service-networking/cmd/isectl/internal/check"
	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/auth/token"
)

// CheckCmd are the checks that need no platform. They print one JSON object a line, whatever --output says.
type CheckCmd struct {
	Token   CheckTokenCmd   `cmd:"" help:"Judge access tokens, one a line."`
	Spiffe  CheckSpiffeCmd  `cmd:"" help:"Judge SPIFFE ids, one a line."`
	Service CheckServiceCmd `cmd:"" help:"Judge a registration."`
	Policy  CheckPolicyCmd  `cmd:"" help:"Judge a policy document."`
}

// CheckTokenCmd judges tokens.
type CheckTokenCmd struct {
	JWKS          string `required:"" help:"JSON Web Key Set with the platform's public keys." placeholder:"FILE"`
	Policy        string `help:"Policy document; unless given, who is in it and who may call whom is not judged." placeholder:"FILE"`
	Now           string `help:"Time to judge at, RFC 3339; unless given, the current one." placeholder:"TIME"`
	Audience      string `help:"Service that the tokens are shown to; unless given, their audience is not judged." placeholder:"SERVICE"`
	Issuer        string `help:"Issuer that the tokens must have; unless given, the platform's."`
	SignatureOnly bool   `help:"Judge form, key, algorithm and signature, and no claim."`
}

// Run judges each line.
func (c *CheckTokenCmd) Run(ctx context.Context, a *app) error {
	now := a.now
	if c.Now != "" {
		at, err := time.Parse(time.RFC3339, c.Now)
		if err != nil {
			return usagef("--now: %q is not a time of RFC 3339, such as 2026-01-04T12:00:00Z", c.Now)
		}
		now = func() time.Time { return at }
	}
	data, err := a.read(c.JWKS)
	if err != nil {
		return err
	}
	keys, err := token.ParseJWKS(data)
	if err != nil {
		return usagef("--jwks: %s: %w", c.JWKS, err)
	}
	tokens := check.Tokens{Keys: keys, Now: now, Issuer: c.Issuer, Audience: c.Audience, SignatureOnly: c.SignatureOnly}
	if c.Policy != "" {
		if tokens.Policy, err = a.readPolicy(c.Policy); err != nil {
			return err
		}
	}
	return check.Lines(a.in, a.out, func(line string) any { return tokens.Judge(ctx, line) })
}

// readPolicy reads and compiles the policy that a flag names.
func (a *app) readPolicy(name string) (*policy.Policy, error) {
	data, err := a.read(name)
	if err != nil {
		return nil, err
	}
	document, findings, err := policy.Parse(data)
	if err != nil {
		return nil, usagef("--policy: %s: %w%s", name, err, list(findings))
	}
	compiled, err := policy.Compile(document, 1)
	if err != nil {
		return nil, usagef("--policy: %s: %w", name, err)
	}
	return compiled, nil
}

func list(findings []policy.Finding) string {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "\n  %s", f)
	}
	return b.String()
}

// CheckSpiffeCmd judges SPIFFE ids.
type CheckSpiffeCmd struct{}

// Run judges each line.
func (*CheckSpiffeCmd) Run(a *app) error {
	return check.Lines(a.in, a.out, func(line string) any { return check.SPIFFE(line) })
}

// CheckServiceCmd judges a registration.
type CheckServiceCmd struct {
	Policy        string `help:"Policy that says which services there are; unless given, the one the platform ships with." placeholder:"FILE"`
	AllowLoopback bool   `help:"Accept endpoints on this machine in development, as the local platform does."`
}

// Run judges the document on standard input.
func (c *CheckServiceCmd) Run(a *app) error {
	compiled, err := policy.Compile(policy.Default(auth.Environments()...), 1)
	if c.Policy != "" {
		compiled, err = a.readPolicy(c.Policy)
	}
	if err != nil {
		return err
	}
	data, err := a.read("-")
	if err != nil {
		return err
	}
	return a.printJSON(check.Service(data, compiled, c.AllowLoopback))
}

// CheckPolicyCmd judges a policy document.
type CheckPolicyCmd struct{}

// Run judges the document on standard input.
func (*CheckPolicyCmd) Run(a *app) error {
	data, err := a.read("-")
	if err != nil {
		return err
	}
	return a.printJSON(check.Policy(data))
}

// SignCmd signs a request.
type SignCmd struct {
	KeyFile   string `required:"" help:"File with the service's API key: 43 characters of base64url." placeholder:"FILE"`
	Service   string `required:"" help:"Service that signs."`
	KeyID     string `required:"" help:"Version of its key, such as k1." placeholder:"ID"`
	Timestamp string `help:"YYYY-MM-DDTHH:MM:SSZ; unless given, now." placeholder:"TIME"`
	Nonce     string `help:"22 characters of base64url; unless given, a fresh one."`
	Explain   bool   `help:"Print the canonical request and the string that is signed too."`
}

// Run prints the headers to add to the request.
func (s *SignCmd) Run(a *app) error {
	data, err := a.read(s.KeyFile)
	if err != nil {
		return err
	}
	key, err := signature.ParseKey(strings.TrimRight(string(data), "\r\n"))
	if err != nil {
		return fmt.Errorf("%s: %w", s.KeyFile, err)
	}
	signed, err := check.Sign(a.in, check.Signing{
		Service: s.Service, KeyID: s.KeyID, Key: key, Timestamp: s.Timestamp, Nonce: s.Nonce, Now: a.now,
	})
	if err != nil {
		return err
	}
	if a.Output == "json" {
		if !s.Explain {
			signed.Canonical, signed.ToSign = "", ""
		}
		return a.printJSON(signed)
	}
	for _, h := range signed.Headers {
		fmt.Fprintf(a.out, "%s: %s\n", h.Name, h.Value)
	}
	if s.Explain {
		fmt.Fprintf(a.out, "\ncanonical request:\n%s\n\nstring to sign:\n%s\n", signed.Canonical, signed.ToSign)
	}
	return nil
}

// printJSON prints one object on a line.
func (a *app) printJSON(v any) error {
	encoder := json.NewEncoder(a.out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
