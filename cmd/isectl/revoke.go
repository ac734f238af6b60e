package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/isectech/service-networking/cmd/isectl/internal/client"
)

// RevokeCmd takes something back before its time.
type RevokeCmd struct {
	JTI     string `name:"jti" help:"One access token, by its id." placeholder:"ID"`
	Service string `help:"Every access token that the service has been issued by now; with --key, whose API key it is." placeholder:"SERVICE"`
	Key     string `help:"A signing key by its kid, with every token that it signed; or with --service the version of its API key, such as k1." placeholder:"KEY"`
	Serial  string `help:"Every certificate with this serial number, in hex." placeholder:"NUMBER"`
	Reason  string `help:"Why; the journal's readers will want to know." placeholder:"TEXT"`
}

// request names what is to be revoked as the platform does.
func (r *RevokeCmd) request() (map[string]string, error) {
	named := 0
	for _, value := range []string{r.JTI, r.Service, r.Key, r.Serial} {
		if value != "" {
			named++
		}
	}
	ofService := r.Service != "" && r.Key != ""
	if ofService {
		named--
	}
	if named != 1 {
		return nil, usagef("want exactly one of --jti, --service, --key (with --service: an API key) and --serial")
	}
	body := make(map[string]string)
	for name, value := range map[string]string{
		"jti": r.JTI, "service_name": r.Service, "kid": r.Key, "serial": r.Serial, "reason": r.Reason,
	} {
		if value != "" {
			body[name] = value
		}
	}
	if ofService {
		delete(body, "kid")
		body["api_key_id"] = r.Key
	}
	return body, nil
}

// Run revokes it.
func (r *RevokeCmd) Run(ctx context.Context, a *app) error {
	request, err := r.request()
	if err != nil {
		return err
	}
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	answer, err := a.asOperator(ctx, client.Call{
		Method: http.MethodPost, Path: []string{"internal", "auth", "revoke"}, Type: "application/json", Body: body,
	})
	if err != nil {
		return err
	}
	var done struct {
		Kind      string `json:"kind"`
		Value     string `json:"value"`
		RevokedAt string `json:"revoked_at"`
		ExpiresAt string `json:"expires_at"`
	}
	if err := answer.Decode(&done); err != nil {
		return err
	}
	return a.print(answer.Body, func(w io.Writer) {
		fmt.Fprintf(w, "revoked %s %s", done.Kind, done.Value)
		if done.Kind == "service_name" {
			fmt.Fprintf(w, ", all that was issued up to %s", done.RevokedAt)
		}
		fmt.Fprintln(w)
	})
}

// QuarantineCmd isolates a service, or ends that, or says which are isolated.
type QuarantineCmd struct {
	Service string `arg:"" optional:"" help:"Service, by name or alias; unless given, those in quarantine are listed."`
	Reason  string `help:"Why; needed to isolate it." placeholder:"TEXT"`
	Expires string `help:"When it ends by itself: after a time such as 4h, or at one such as 2026-01-04T12:00:00Z; unless given, when it is lifted." placeholder:"D"`
	Lift    bool   `help:"End the quarantine."`
}

// isolation is a quarantine as the platform tells it.
type isolation struct {
	ServiceName string `json:"service_name"`
	Reason      string `json:"reason"`
	Actor       string `json:"actor"`
	Since       string `json:"since"`
	ExpiresAt   string `json:"expires_at"`
}

// until says when it ends.
func (i isolation) until() string {
	if i.ExpiresAt == "" {
		return "until lifted"
	}
	return "until " + i.ExpiresAt
}

// Run does what was asked.
func (q *QuarantineCmd) Run(ctx context.Context, a *app) error {
	path := []string{"internal", "auth", "quarantine"}
	switch {
	case q.Service == "" && !q.Lift && q.Reason == "" && q.Expires == "":
		return a.listQuarantines(ctx, path)
	case q.Service == "":
		return usagef("say which service")
	case q.Lift && (q.Reason != "" || q.Expires != ""):
		return usagef("--lift takes neither --reason nor --expires")
	case q.Lift:
		return a.lift(ctx, append(path, q.Service), q.Service)
	case q.Reason == "":
		return usagef("say why, with --reason")
	}
	request := map[string]string{"service_name": q.Service, "reason": q.Reason}
	if q.Expires != "" {
		request["expires"] = q.Expires
	}
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	answer, err := a.asOperator(ctx, client.Call{Method: http.MethodPost, Path: path, Type: "application/json", Body: body})
	if err != nil {
		return err
	}
	var done isolation
	if err := answer.Decode(&done); err != nil {
		return err
	}
	return a.print(answer.Body, func(w io.Writer) { fmt.Fprintf(w, "%s is in quarantine %s\n", done.ServiceName, done.until()) })
}

func (a *app) lift(ctx context.Context, path []string, service string) error {
	if _, err := a.asOperator(ctx, client.Call{Method: http.MethodDelete, Path: path}); err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{"service_name": service, "lifted": true})
	if err != nil {
		return err
	}
	return a.print(body, func(w io.Writer) { fmt.Fprintf(w, "%s is in quarantine no more\n", service) })
}

func (a *app) listQuarantines(ctx context.Context, path []string) error {
	answer, err := a.asOperator(ctx, client.Call{Method: http.MethodGet, Path: path})
	if err != nil {
		return err
	}
	var list struct {
		Quarantines []isolation `json:"quarantines"`
	}
	if err := answer.Decode(&list); err != nil {
		return err
	}
	return a.print(answer.Body, func(w io.Writer) {
		fmt.Fprintf(w, "SERVICE\tSINCE\tEND\tBY\tREASON\n")
		for _, i := range list.Quarantines {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", i.ServiceName, i.Since, i.until(), i.Actor, i.Reason)
		}
	})
}
