package authz

import (
	"context"
	"math"
	"net/http"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/store"
)

// journal shows the journal's entries, of one object or of all in the order of their objects, or
// verifies every chain in it.
func (s *Service) journal(w http.ResponseWriter, r *http.Request) error {
	if _, _, err := s.guard.Caller(r, guard.Access{AnyOf: []auth.Scopes{auth.AdminRead}}); err != nil {
		return err
	}
	params, err := httpx.Query(r, "object", "after", "limit", "page_token", "verify")
	if err != nil {
		return err
	}
	if verify, err := params.Bool("verify"); err != nil {
		return err
	} else if verify {
		report, err := store.Verify(r.Context(), s.deps.Store, s.deps.Now())
		if err != nil {
			return err
		}
		return httpx.WriteJSON(w, http.StatusOK, report)
	}
	limit, err := params.Int("limit", 100, 1, 500)
	if err != nil {
		return err
	}
	after, err := params.Int("after", 0, 0, math.MaxInt64)
	if err != nil {
		return err
	}
	answer := entryPage{Entries: []store.Entry{}}
	if params.Has("object") {
		answer.Entries, err = store.Entries(r.Context(), s.deps.Store, params["object"], after, int(limit))
	} else {
		answer, err = s.allEntries(r.Context(), int(limit), params["page_token"])
	}
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, answer)
}

// entryPage is a part of the journal.
type entryPage struct {
	Entries []store.Entry `json:"entries"`
	Next    string        `json:"next_page_token"`
}

// allEntries lists the journal of all objects, object by object.
func (s *Service) allEntries(ctx context.Context, limit int, token string) (entryPage, error) {
	page, err := s.deps.Store.Query(ctx, store.Query{Collection: store.Journal, OrderBy: "key", Limit: limit, PageToken: token})
	if err != nil {
		return entryPage{}, err
	}
	answer := entryPage{Entries: make([]store.Entry, len(page.Documents)), Next: page.Next}
	for i, doc := range page.Documents {
		if answer.Entries[i], err = store.EntryOf(doc); err != nil {
			return entryPage{}, err
		}
	}
	return answer, nil
}
