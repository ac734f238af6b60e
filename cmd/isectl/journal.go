package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/isectech/service-networking/cmd/isectl/internal/client"
	"github.com/isectech/service-networking/cmd/isectl/internal/local"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/boltstore"
)

// JournalCmd are the commands about the journal.
type JournalCmd struct {
	Verify JournalVerifyCmd `cmd:"" help:"Verify every chain of entries, and that each record is what its last entry left."`
	Show   JournalShowCmd   `cmd:"" help:"Print entries."`
}

// JournalVerifyCmd verifies the journal.
type JournalVerifyCmd struct{}

// Run verifies the journal of the platform that --server names; else that of the local one, by its files
// unless it is running, which is when it holds them.
func (*JournalVerifyCmd) Run(ctx context.Context, a *app) error {
	report, err := a.verify(ctx)
	if err != nil {
		return err
	}
	body, err := json.Marshal(report)
	if err != nil {
		return err
	}
	if err := a.print(body, func(w io.Writer) { writeReport(w, report) }); err != nil {
		return err
	}
	if !report.Clean() {
		return errTold
	}
	return nil
}

func (a *app) verify(ctx context.Context) (store.Report, error) {
	if a.Server == "" {
		report, err := a.verifyFiles(ctx)
		if !errors.Is(err, boltstore.ErrLocked) {
			return report, err
		}
	}
	answer, err := a.asOperator(ctx, client.Call{
		Method: http.MethodGet, Path: []string{"internal", "journal"}, Query: url.Values{"verify": {"true"}},
	})
	if err != nil {
		return store.Report{}, err
	}
	var report store.Report
	err = answer.Decode(&report)
	return report, err
}

// verifyFiles verifies the files of a local platform that is not running.
func (a *app) verifyFiles(ctx context.Context) (report store.Report, err error) {
	dir := local.Dir(a.LocalDir)
	if _, err := os.Stat(dir.Store()); errors.Is(err, fs.ErrNotExist) {
		return report, fmt.Errorf("%s: %w; start one (make run), or say where it is (--server, --local-dir)", dir, local.ErrNoPlatform)
	}
	db, err := boltstore.Open(dir.Store(), boltstore.Options{Now: a.now, ReadOnly: true})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return store.Verify(ctx, db, a.now())
}

// writeReport tells what was found, the first broken link first.
func writeReport(w io.Writer, r store.Report) {
	if r.Clean() {
		fmt.Fprintf(w, "clean: %d objects, %d entries\n", r.Objects, r.Entries)
		return
	}
	for _, fault := range r.Faults {
		fmt.Fprintf(w, "broken: %s\n", fault)
	}
	if r.More {
		fmt.Fprintln(w, "broken: and more than can be shown")
	}
}

// JournalShowCmd prints entries.
type JournalShowCmd struct {
	Object    string `arg:"" optional:"" help:"Record, such as services/backend-services-001; unless given, all."`
	Limit     int    `help:"Entries at most, 1 to 500." default:"100"`
	After     int64  `help:"Only entries of the object after this sequence number." placeholder:"N"`
	PageToken string `help:"Where to go on: next_page_token of the page before." placeholder:"TOKEN"`
}

// Run prints a page of entries.
func (j *JournalShowCmd) Run(ctx context.Context, a *app) error {
	query := url.Values{"limit": {strconv.Itoa(j.Limit)}}
	for name, value := range map[string]string{"object": j.Object, "page_token": j.PageToken, "after": positive(j.After)} {
		if value != "" {
			query.Set(name, value)
		}
	}
	answer, err := a.asOperator(ctx, client.Call{Method: http.MethodGet, Path: []string{"internal", "journal"}, Query: query})
	if err != nil {
		return err
	}
	var page struct {
		Entries []store.Entry `json:"entries"`
		Next    string        `json:"next_page_token"`
	}
	if err := answer.Decode(&page); err != nil {
		return err
	}
	return a.print(answer.Body, func(w io.Writer) {
		fmt.Fprintf(w, "OBJECT\tSEQUENCE\tAT\tDONE\tBY\tCAUSE\n")
		for _, e := range page.Entries {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", e.Object, e.Sequence, e.At.Format(time.RFC3339), e.Op, e.Actor, e.Cause)
		}
		if page.Next != "" {
			fmt.Fprintf(w, "more: --page-token %s\n", page.Next)
		}
	})
}
