package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/isectech/service-networking/cmd/isectl/internal/client"
)

// WatchCmd prints what changes in the registry, as it changes.
type WatchCmd struct {
	As `embed:""`

	Name        string `help:"Of this service, by name or alias." placeholder:"SERVICE"`
	Environment string `help:"In this environment." enum:",production,staging,development" default:""`
	Index       int64  `help:"Print what is newer than this; unless given, everything there is, and then what changes." placeholder:"N"`
	Once        bool   `help:"End with the first answer that has a change in it."`
}

// watchWait is how long one request waits, well within the client's own patience.
const watchWait = "20s"

// Run watches until it is interrupted.
func (w *WatchCmd) Run(ctx context.Context, a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	index := w.Index
	for {
		// A token for each request: the watch may outlast any one of them.
		token, err := w.bearer(ctx, a, c, w.Environment)
		if err != nil {
			return w.end(ctx, err)
		}
		next, changed, err := w.ask(ctx, a, c, token, index)
		var refused *client.Error
		if errors.As(err, &refused) && refused.Status == http.StatusGone {
			next, err = 0, nil // too much was missed: everything anew
		}
		if err != nil {
			return w.end(ctx, err)
		}
		if index = next; changed && w.Once {
			return nil
		}
	}
}

// end is how a watch ends: its user's interruption is no failure.
func (*WatchCmd) end(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		err = nil
	}
	return err
}

// ask waits for changes once, and prints them.
func (w *WatchCmd) ask(ctx context.Context, a *app, c *client.Client, token string, index int64) (next int64, changed bool, err error) {
	query := url.Values{"index": {strconv.FormatInt(index, 10)}, "wait": {watchWait}}
	if w.Name != "" {
		query.Set("name", w.Name)
	}
	if w.Environment != "" {
		query.Set("environment", w.Environment)
	}
	answer, err := c.Do(ctx, client.Call{Method: http.MethodGet, Path: registryPath("watch"), Query: query, Token: token})
	if err != nil {
		return 0, false, err
	}
	var news struct {
		Index   int64             `json:"index"`
		Changes []json.RawMessage `json:"changes"`
	}
	if err := answer.Decode(&news); err != nil {
		return 0, false, err
	}
	for _, line := range news.Changes {
		var change struct {
			Type    string `json:"type"`
			Service record `json:"service"`
		}
		if err := json.Unmarshal(line, &change); err != nil {
			return 0, false, err
		}
		if err := a.print(line, func(out io.Writer) {
			line := []string{change.Type, change.Service.ServiceID, change.Service.Environment, change.Service.state()}
			fmt.Fprintln(out, strings.TrimSpace(strings.Join(line, " ")))
		}); err != nil {
			return 0, false, err
		}
	}
	return news.Index, len(news.Changes) > 0, nil
}
