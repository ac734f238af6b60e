package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/isectech/service-networking/cmd/isectl/internal/client"
	"github.com/isectech/service-networking/cmd/isectl/internal/credential"
	"github.com/isectech/service-networking/shared/auth/signature"
)

// As says in whose name a command acts.
type As struct {
	As      string `help:"Act as this service, with its API key; unless given, as the operator." placeholder:"SERVICE"`
	Project string `help:"Google Cloud project whose Secret Manager holds the API key; unless given, the local platform's." placeholder:"ID"`
}

// Acting says in whose name, and where, a command acts.
type Acting struct {
	As `embed:""`

	Environment string `help:"Environment: production, staging or development." enum:"production,staging,development" default:"production"`
}

// bearer returns a token for the platform's own endpoints. A service's is for an environment; an
// operator acts in all of them.
func (s As) bearer(ctx context.Context, a *app, c *client.Client, environment string) (string, error) {
	if s.As == "" {
		return a.operatorToken(ctx, c)
	}
	issued, err := s.issue(ctx, a, c, client.Ask{Environment: environment})
	return issued.AccessToken, err
}

// issue gets a token by signing the request with the service's API key.
func (s As) issue(ctx context.Context, a *app, c *client.Client, ask client.Ask) (issued client.Issued, err error) {
	source, closeAll, err := a.openSecrets(ctx, s.Project)
	if err != nil {
		return issued, err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	key, err := credential.ReadAPIKey(ctx, source, s.As)
	if err != nil {
		return issued, err
	}
	return c.ServiceToken(ctx, signature.Signer{Service: key.Service, KeyID: key.KeyID, Key: key.Key, Now: a.now}, ask)
}

// TokenCmd prints an access token.
type TokenCmd struct {
	Acting `embed:""`

	Audience  string `help:"Service that the token is for; unless given, the platform itself." placeholder:"SERVICE"`
	Scope     string `help:"Scopes, separated by spaces; unless given, all that are granted." placeholder:"SCOPES"`
	ServiceID string `help:"Instance that asks, such as backend-services-001." name:"service-id" placeholder:"ID"`
}

// Validate asks for what the grammar cannot.
func (t *TokenCmd) Validate() error {
	if t.As.As == "" {
		return errors.New("--as=SERVICE is missing")
	}
	return nil
}

// Run prints the token alone, or the whole answer as JSON.
func (t *TokenCmd) Run(ctx context.Context, a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	issued, err := t.issue(ctx, a, c, client.Ask{
		Scope: t.Scope, Audience: t.Audience, Environment: t.Environment, ServiceID: t.ServiceID,
	})
	if err != nil {
		return err
	}
	return a.print(issued.Body, func(w io.Writer) { fmt.Fprintln(w, issued.AccessToken) })
}

// ValidateCmd prints the decision on a token.
type ValidateCmd struct {
	Token       string `help:"Access token, or - to read it from standard input; unless given, the operator's own." placeholder:"TOKEN" env:"ISECTL_TOKEN"`
	Target      string `help:"Service that is to be called." placeholder:"SERVICE"`
	Scope       string `help:"Scopes that the call needs, separated by spaces." placeholder:"SCOPES"`
	ServiceName string `help:"Service that says it is calling (X-Service-Name)." placeholder:"SERVICE"`
}

// decision is an answer of authz, allowing or denying.
type decision struct {
	Decision      string   `json:"decision"`
	Reason        string   `json:"reason"`
	Message       string   `json:"message"`
	AuthMethod    string   `json:"auth_method"`
	ServiceName   string   `json:"service_name"`
	ServiceID     string   `json:"service_id"`
	Environment   string   `json:"environment"`
	Scopes        []string `json:"scopes"`
	Required      []string `json:"required"`
	ExpiresAt     string   `json:"expires_at"`
	PolicyVersion int64    `json:"policy_version"`
	DecisionID    string   `json:"decision_id"`
}

// Run shows the token to authz as a service would.
func (v *ValidateCmd) Run(ctx context.Context, a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	raw, err := v.token(ctx, a, c)
	if err != nil {
		return err
	}
	header := http.Header{}
	for name, value := range map[string]string{
		"X-Target-Service": v.Target, "X-Required-Scopes": v.Scope, signature.HeaderService: v.ServiceName,
	} {
		if value != "" {
			header.Set(name, value)
		}
	}
	answer, err := c.Do(ctx, client.Call{
		Method: http.MethodGet, Path: []string{"internal", "auth", "validate"}, Header: header, Token: raw,
	})
	var refused *client.Error
	if errors.As(err, &refused) {
		answer.Body = refused.Body
	} else if err != nil {
		return err
	}
	var d decision
	if decodeErr := answer.Decode(&d); decodeErr != nil || d.Decision == "" {
		return errors.Join(err, decodeErr) // an answer, but no decision
	}
	if err := a.print(answer.Body, d.write); err != nil {
		return err
	}
	if refused != nil || d.Decision != "allow" {
		return errTold
	}
	return nil
}

func (v *ValidateCmd) token(ctx context.Context, a *app, c *client.Client) (string, error) {
	switch v.Token {
	case "":
		return a.operatorToken(ctx, c)
	case "-":
		data, err := a.read("-")
		return strings.TrimSpace(string(data)), err
	default:
		return v.Token, nil
	}
}

func (d decision) write(w io.Writer) {
	fmt.Fprintf(w, "%s %s", d.Decision, d.Reason)
	if d.Message != "" {
		fmt.Fprintf(w, ": %s", d.Message)
	}
	fmt.Fprintln(w)
	caller := d.ServiceName
	for _, more := range []string{d.ServiceID, d.Environment, d.AuthMethod} {
		if more != "" {
			caller += ", " + more
		}
	}
	for _, line := range []struct{ name, value string }{
		{"caller", caller}, {"scopes", strings.Join(d.Scopes, " ")}, {"needs", strings.Join(d.Required, " ")},
		{"expires", d.ExpiresAt}, {"policy", positive(d.PolicyVersion)}, {"decision", d.DecisionID},
	} {
		if line.value != "" {
			fmt.Fprintf(w, "%s\t%s\n", line.name, line.value)
		}
	}
}
