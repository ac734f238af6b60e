package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/isectech/service-networking/cmd/isectl/internal/client"
	"github.com/isectech/service-networking/cmd/isectl/internal/local"
	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/platform/bootstrap"
	"github.com/isectech/service-networking/shared/store/boltstore"
)

// BootstrapCmd makes what trust rests on.
type BootstrapCmd struct{}

// Run makes the policy, the signing key and the root CA of the local platform. What has a record is left
// alone; a platform that runs, and so holds the store, has made all of them when it started.
func (*BootstrapCmd) Run(ctx context.Context, a *app) error {
	parts, err := local.Bootstrap(ctx, local.Dir(a.LocalDir), a.now)
	if errors.Is(err, boltstore.ErrLocked) {
		return a.printParts(bootstrap.Parts())
	}
	if err != nil {
		return err
	}
	return a.printParts(parts)
}

// ServiceCmd is about the services that the policy knows.
type ServiceCmd struct {
	Add ServiceAddCmd `cmd:"" help:"Make a service: its policy entry and its API key."`
}

// ServiceAddCmd makes a service.
type ServiceAddCmd struct {
	Name         string   `arg:"" help:"Name of the service, such as isectech-billing."`
	Scopes       []string `help:"Scopes that it may be granted." default:"service:discover" placeholder:"SCOPE"`
	Environments []string `help:"Environments that it runs in." default:"production,development" placeholder:"ENV"`
	Aliases      []string `help:"Further names, beside the one without isectech-." placeholder:"ALIAS"`
	Description  string   `help:"What it is, for people." placeholder:"TEXT"`
}

// Run asks the running platform to make the service, which alone has the store and writes the secrets.
func (s *ServiceAddCmd) Run(ctx context.Context, a *app) error {
	if _, err := auth.ParseSubject(s.Name); err != nil {
		return usageError{err}
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	token, err := a.operatorToken(ctx, c)
	if err != nil {
		return err
	}
	body, err := json.Marshal(local.NewService{Name: s.Name, Entry: policy.ServiceEntry{
		Scopes: s.Scopes, Environments: s.Environments, Aliases: s.Aliases, Description: s.Description,
	}})
	if err != nil {
		return err
	}
	answer, err := c.Do(ctx, client.Call{
		Method: http.MethodPost, Path: local.ServicesPath(), Token: token, Type: "application/json", Body: body,
	})
	if err != nil {
		return err
	}
	var made struct {
		Parts []bootstrap.Part `json:"parts"`
	}
	if err := answer.Decode(&made); err != nil {
		return err
	}
	return a.printParts(made.Parts)
}

// printParts says what was made and what was there.
func (a *app) printParts(parts []bootstrap.Part) error {
	body, err := json.Marshal(map[string]any{"parts": parts})
	if err != nil {
		return err
	}
	return a.print(body, func(w io.Writer) {
		for _, p := range parts {
			state := "exists, left alone"
			if p.Created {
				state = "created"
			}
			fmt.Fprintf(w, "%s\t%s\n", p.Name, state)
		}
	})
}
