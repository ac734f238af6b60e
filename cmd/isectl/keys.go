package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/isectech/service-networking/cmd/isectl/internal/client"
)

// KeysCmd are the commands about the keys that sign access tokens.
type KeysCmd struct {
	List   KeysListCmd   `cmd:"" help:"List the signing keys, and what is due next."`
	Rotate KeysRotateCmd `cmd:"" help:"Begin a rotation of the signing keys, or take its next steps that are due."`
}

// KeysListCmd lists the signing keys.
type KeysListCmd struct{}

// Run asks authz for the keys.
func (*KeysListCmd) Run(ctx context.Context, a *app) error {
	answer, err := a.asOperator(ctx, client.Call{Method: http.MethodGet, Path: []string{"internal", "auth", "keys"}})
	if err != nil {
		return err
	}
	return a.printKeys(answer)
}

// KeysRotateCmd rotates the signing keys.
type KeysRotateCmd struct {
	Algorithm string `help:"Of the new key: ${enum}." enum:"ES256,EdDSA,RS256" default:"ES256"`
}

// Run asks for the steps that are due. Asked again later, it takes those that have become due since.
func (k *KeysRotateCmd) Run(ctx context.Context, a *app) error {
	body, err := json.Marshal(map[string]string{"algorithm": k.Algorithm})
	if err != nil {
		return err
	}
	answer, err := a.asOperator(ctx, client.Call{
		Method: http.MethodPost, Path: []string{"internal", "auth", "keys", "rotate"}, Type: "application/json", Body: body,
	})
	if err != nil {
		return err
	}
	return a.printKeys(answer)
}

// printKeys prints what was done, the keys, and what is due next.
func (a *app) printKeys(answer client.Answer) error {
	type step struct {
		Step  string `json:"step"`
		KeyID string `json:"kid"`
		DueAt string `json:"due_at"`
	}
	var view struct {
		Done []step `json:"done"`
		Keys []struct {
			KeyID     string `json:"kid"`
			Algorithm string `json:"algorithm"`
			State     string `json:"state"`
			Since     string `json:"since"`
		} `json:"keys"`
		Next *step `json:"next"`
	}
	if err := answer.Decode(&view); err != nil {
		return err
	}
	return a.print(answer.Body, func(w io.Writer) {
		for _, s := range view.Done {
			fmt.Fprintf(w, "done\t%s\t%s\n", s.Step, s.KeyID)
		}
		for _, k := range view.Keys {
			fmt.Fprintf(w, "%s\t%s\t%s\tsince %s\n", k.KeyID, k.Algorithm, k.State, k.Since)
		}
		if view.Next != nil {
			fmt.Fprintf(w, "next\t%s\t%s\tdue %s\n", view.Next.Step, view.Next.KeyID, view.Next.DueAt)
		}
	})
}
