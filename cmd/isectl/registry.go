package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/isectech/service-networking/cmd/isectl/internal/client"
)

// record is what commands show of a registered instance.
type record struct {
	ServiceID      string `json:"service_id"`
	ServiceName    string `json:"service_name"`
	Environment    string `json:"environment"`
	Version        string `json:"version"`
	Status         string `json:"status"`
	Generation     int64  `json:"generation"`
	LeaseExpiresAt string `json:"lease_expires_at"`
	Lapsed         bool   `json:"lapsed"`
}

// state is the status, and that the instance is gone where it has not kept its lease.
func (r record) state() string {
	if r.Lapsed {
		return r.Status + " (lapsed)"
	}
	return r.Status
}

func writeTable(w io.Writer, records []record) {
	fmt.Fprintf(w, "ID\tSERVICE\tENVIRONMENT\tVERSION\tSTATUS\tGENERATION\n")
	for _, r := range records {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\n", r.ServiceID, r.ServiceName, r.Environment, r.Version, r.state(), r.Generation)
	}
}

func registryPath(more ...string) []string {
	return append([]string{"internal", "registry"}, more...)
}

// RegisterCmd registers an instance.
type RegisterCmd struct {
	Acting `embed:""`

	File   string `short:"f" required:"" help:"Registration as JSON, or - for standard input." placeholder:"FILE"`
	DryRun bool   `help:"Say what would come of it, and write nothing."`
}

// Run sends the registration as it is; the platform says what is wrong with it.
func (r *RegisterCmd) Run(ctx context.Context, a *app) error {
	body, err := a.read(r.File)
	if err != nil {
		return err
	}
	if !json.Valid(body) {
		return fmt.Errorf("%s: not JSON", r.File)
	}
	call := client.Call{Method: http.MethodPost, Path: registryPath("register"), Type: "application/json", Body: body}
	if r.DryRun {
		call.Query = url.Values{"dry_run": {"true"}}
	}
	answer, err := r.call(ctx, a, call)
	if err != nil {
		return err
	}
	if r.DryRun {
		var would struct {
			Outcome string `json:"outcome"`
			Service record `json:"service"`
		}
		if err := answer.Decode(&would); err != nil {
			return err
		}
		return a.print(answer.Body, func(w io.Writer) {
			fmt.Fprintf(w, "%s would be %s, %s\n", would.Service.ServiceID, would.Outcome, would.Service.Status)
		})
	}
	var stored record
	if err := answer.Decode(&stored); err != nil {
		return err
	}
	return a.print(answer.Body, func(w io.Writer) {
		fmt.Fprintf(w, "%s generation %d %s\n", stored.ServiceID, stored.Generation, stored.Status)
	})
}

// ServicesCmd lists instances.
type ServicesCmd struct {
	As `embed:""`

	Name        string            `help:"Of this service, by name or alias." placeholder:"SERVICE"`
	Environment string            `help:"In this environment." enum:",production,staging,development" default:""`
	Region      string            `help:"In this region."`
	Ver         string            `name:"version" help:"Of this version, or in this range, such as '>=1.2 <2' or '^1.4'." placeholder:"RANGE"`
	Status      string            `help:"With this status."`
	Tag         []string          `help:"With this tag; with all of them where there are several." sep:"none"`
	Metadata    map[string]string `help:"With this value of metadata." placeholder:"KEY=VALUE" mapsep:"none"`
	Limit       int               `help:"Print one page of at most this many, at most 500; unless given, all are printed."`
	PageToken   string            `help:"Where the page begins: next_page_token of the one before." placeholder:"TOKEN"`
}

// pageSize is how many instances are asked for at a time when all are wanted.
const pageSize = 500

// Run prints one page, or all of them as one.
func (s *ServicesCmd) Run(ctx context.Context, a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	token, err := s.bearer(ctx, a, c, s.Environment)
	if err != nil {
		return err
	}
	query := url.Values{}
	for name, value := range map[string]string{
		"name": s.Name, "environment": s.Environment, "region": s.Region, "version": s.Ver, "status": s.Status,
		"page_token": s.PageToken,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for _, tag := range s.Tag {
		query.Add("tag", tag)
	}
	for key, value := range s.Metadata {
		query.Set("metadata."+key, value)
	}
	query.Set("limit", strconv.Itoa(pageSize))
	if s.Limit > 0 {
		query.Set("limit", strconv.Itoa(s.Limit))
	}
	all, next := []json.RawMessage{}, ""
	for {
		answer, err := c.Do(ctx, client.Call{Method: http.MethodGet, Path: registryPath("services"), Query: query, Token: token})
		if err != nil {
			return err
		}
		var page struct {
			Services []json.RawMessage `json:"services"`
			Next     string            `json:"next_page_token"`
		}
		if err := answer.Decode(&page); err != nil {
			return err
		}
		all, next = append(all, page.Services...), page.Next
		if s.Limit > 0 || next == "" {
			break
		}
		query.Set("page_token", next)
	}
	return a.printServices(map[string]any{"services": all, "next_page_token": next}, next)
}

// printServices prints an object with a list of records.
func (a *app) printServices(object map[string]any, next string) error {
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	var list struct {
		Services []record `json:"services"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return fmt.Errorf("the platform's answer cannot be read: %w", err)
	}
	return a.print(body, func(w io.Writer) {
		writeTable(w, list.Services)
		if next != "" {
			fmt.Fprintf(w, "more: --page-token %s\n", next)
		}
	})
}

// ResolveCmd finds a service, or an endpoint of it.
type ResolveCmd struct {
	As `embed:""`

	Name        string `arg:"" help:"Service, by name or alias, or an instance's id."`
	Endpoint    string `arg:"" optional:"" help:"Name of an endpoint: print where one healthy instance has it."`
	Environment string `help:"Environment; unless given, all, and production for an endpoint." enum:",production,staging,development" default:""`
	Status      string `help:"Only instances with this status."`
	Explain     bool   `help:"Say which instances were considered, and why each was passed over."`
}

// Run prints the instances, or the endpoint's URL.
func (r *ResolveCmd) Run(ctx context.Context, a *app) error {
	environment := cmp.Or(r.Environment, "production") // of the caller, where it is a service
	acting := Acting{As: r.As, Environment: environment}
	if r.Endpoint != "" {
		return r.endpoint(ctx, a, acting)
	}
	query := url.Values{"limit": {strconv.Itoa(pageSize)}}
	for name, value := range map[string]string{"environment": r.Environment, "status": r.Status} {
		if value != "" {
			query.Set(name, value)
		}
	}
	answer, err := acting.call(ctx, a, client.Call{Method: http.MethodGet, Path: registryPath("services", r.Name), Query: query})
	if err != nil {
		return err
	}
	var found struct {
		record

		Services []record `json:"services"`
		Next     string   `json:"next_page_token"`
	}
	if err := answer.Decode(&found); err != nil {
		return err
	}
	if found.ServiceID != "" { // the record of an id
		found.Services = []record{found.record}
	}
	return a.print(answer.Body, func(w io.Writer) {
		writeTable(w, found.Services)
		if found.Next != "" {
			fmt.Fprintf(w, "more: isectl services --name %s --page-token %s\n", r.Name, found.Next)
		}
	})
}

func (r *ResolveCmd) endpoint(ctx context.Context, a *app, acting Acting) error {
	query := url.Values{"environment": {acting.Environment}}
	if r.Explain {
		query.Set("explain", "true")
	}
	answer, err := acting.call(ctx, a, client.Call{
		Method: http.MethodGet, Path: registryPath("services", r.Name, "endpoints", r.Endpoint), Query: query,
	})
	if err != nil {
		return err
	}
	var picked struct {
		URL string `json:"url"`
	}
	if err := answer.Decode(&picked); err != nil {
		return err
	}
	indented := new(bytes.Buffer)
	if err := json.Indent(indented, answer.Body, "", "  "); err != nil {
		return err
	}
	return a.print(answer.Body, func(w io.Writer) {
		if fmt.Fprintln(w, picked.URL); r.Explain {
			fmt.Fprintf(w, "%s\n", bytes.TrimSpace(indented.Bytes()))
		}
	})
}

// HeartbeatCmd renews a lease.
type HeartbeatCmd struct {
	Acting `embed:""`

	ID string `arg:"" help:"Instance, such as backend-services-001."`
}

// Run renews the lease and prints until when it lasts.
func (h *HeartbeatCmd) Run(ctx context.Context, a *app) error {
	answer, err := h.call(ctx, a, client.Call{
		Method: http.MethodPut, Path: registryPath("services", h.ID, "heartbeat"),
	})
	if err != nil {
		return err
	}
	r := record{ServiceID: h.ID}
	if len(answer.Body) == 0 {
		answer.Body = []byte(`{}`)
	}
	if err := answer.Decode(&r); err != nil {
		return err
	}
	return a.print(answer.Body, func(w io.Writer) {
		fmt.Fprintf(w, "%s %s", r.ServiceID, r.Status)
		if r.LeaseExpiresAt != "" {
			fmt.Fprintf(w, ", lease until %s", r.LeaseExpiresAt)
		}
		fmt.Fprintln(w)
	})
}

// UnregisterCmd removes an instance.
type UnregisterCmd struct {
	Acting `embed:""`

	ID string `arg:"" help:"Instance, such as backend-services-001."`
}

// Run removes the record.
func (u *UnregisterCmd) Run(ctx context.Context, a *app) error {
	if _, err := u.call(ctx, a, client.Call{Method: http.MethodDelete, Path: registryPath("services", u.ID)}); err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{"service_id": u.ID, "unregistered": true})
	if err != nil {
		return err
	}
	return a.print(body, func(w io.Writer) { fmt.Fprintf(w, "%s unregistered\n", u.ID) })
}
