package authz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
)

// quarantineRequest isolates a service. The end may be said in any of its three members: as a duration or as a
// time.
type quarantineRequest struct {
	ServiceName string          `json:"service_name"`
	Reason      string          `json:"reason"`
	Expires     json.RawMessage `json:"expires"`
	ExpiresAt   json.RawMessage `json:"expires_at"`
	Duration    json.RawMessage `json:"duration"`
}

// maxQuarantine bounds one with an end.
const maxQuarantine = 10 * 365 * 24 * time.Hour

// quarantined is a quarantine as operators see it.
type quarantined struct {
	ServiceName string `json:"service_name"`
	trust.Quarantine

	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

func shownQuarantine(q trust.Quarantine) quarantined {
	shown := quarantined{ServiceName: q.Service.String(), Quarantine: q}
	if !q.ExpiresAt.IsZero() {
		shown.ExpiresAt = &q.ExpiresAt
	}
	return shown
}

var quarantineAccess = guard.Access{AnyOf: []auth.Scopes{auth.AdminWrite}, Write: true}

// quarantine isolates a service: it calls nobody, nobody calls it, it gets no tokens, and discovery does not
// know it.
func (s *Service) quarantine(w http.ResponseWriter, r *http.Request) error {
	p, st, err := s.guard.Caller(r, quarantineAccess)
	if err != nil {
		return err
	}
	var req quarantineRequest
	if err := httpx.DecodeJSON(r, &req); err != nil {
		return err
	}
	if err := checkReason(req.Reason, true); err != nil {
		return err
	}
	now := s.deps.Now()
	end, err := req.end(now)
	if err != nil {
		return err
	}
	service, err := serviceOf(req.ServiceName, st)
	if err != nil {
		return err
	}
	q, err := s.recordQuarantine(r.Context(), trust.Quarantine{
		Service: service, Reason: req.Reason, Actor: p.Subject.String(), Since: now.UTC().Truncate(time.Second), ExpiresAt: end,
	}, httpx.RequestID(r.Context()))
	if err != nil {
		return err
	}
	s.deps.Logger.LogAttrs(r.Context(), slog.LevelWarn, "quarantined",
		slog.String("target", service.String()), slog.String("reason", q.Reason))
	return httpx.WriteJSON(w, http.StatusOK, shownQuarantine(q))
}

// release ends a quarantine; one that is not there has ended.
func (s *Service) release(w http.ResponseWriter, r *http.Request) error {
	p, st, err := s.guard.Caller(r, quarantineAccess)
	if err != nil {
		return err
	}
	service, err := isolatedOf(r.PathValue("service_name"), st)
	if err != nil {
		return err
	}
	_, err = s.deps.Store.Commit(r.Context(), store.Batch{
		Writes: []store.Write{{Ref: trust.QuarantineRef(service)}}, Actor: p.Subject.String(), Cause: httpx.RequestID(r.Context()),
	})
	if err != nil {
		return fmt.Errorf("lift quarantine: %w", err)
	}
	s.trust.Look()
	s.deps.Logger.LogAttrs(r.Context(), slog.LevelWarn, "quarantine lifted", slog.String("target", service.String()))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// quarantines lists the quarantines in force.
func (s *Service) quarantines(w http.ResponseWriter, r *http.Request) error {
	_, st, err := s.guard.Caller(r, guard.Access{AnyOf: []auth.Scopes{auth.AdminRead}})
	if err != nil {
		return err
	}
	list := []quarantined{}
	for _, q := range st.Quarantines() {
		list = append(list, shownQuarantine(q))
	}
	return httpx.WriteJSON(w, http.StatusOK, map[string]any{"quarantines": list})
}

// serviceOf resolves the name or alias of a service that the policy knows.
func serviceOf(ref string, st *trust.State) (auth.Subject, error) {
	if ref == "" {
		return auth.Subject{}, malformedField("service_name", "is missing")
	}
	service, ok := st.Resolve(ref)
	if !ok || service.IsOperator() {
		return auth.Subject{}, httpx.NotFound("the policy knows no service of that name")
	}
	return service, nil
}

// isolatedOf is serviceOf, also of a service in quarantine that the policy knows no longer.
func isolatedOf(ref string, st *trust.State) (auth.Subject, error) {
	if service, err := auth.ParseSubject(ref); err == nil && st.Quarantined(service) {
		return service, nil
	}
	return serviceOf(ref, st)
}

// recordQuarantine writes a quarantine. One that is in force goes on from when it began, with the new reason
// and end; the same again changes nothing.
func (s *Service) recordQuarantine(ctx context.Context, asked trust.Quarantine, cause string) (trust.Quarantine, error) {
	ref := trust.QuarantineRef(asked.Service)
	for attempt := 1; ; attempt++ {
		next, condition := asked, store.Absent()
		doc, err := s.deps.Store.Get(ctx, ref)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return next, err
		default:
			was := trust.Quarantine{Service: asked.Service, ExpiresAt: doc.ExpiresAt}
			if err := doc.Decode(&was); err != nil {
				return next, err
			}
			next.Since, condition = was.Since, store.AtGeneration(doc.Generation)
			if was.Reason == next.Reason && was.ExpiresAt.Equal(next.ExpiresAt) {
				s.trust.Look()
				return was, nil
			}
		}
		_, err = s.deps.Store.Commit(ctx, store.Batch{
			Writes: []store.Write{{Ref: ref, Data: next, ExpiresAt: next.ExpiresAt, If: condition}},
			Actor:  asked.Actor, Cause: cause,
		})
		if err == nil {
			s.trust.Look()
			return next, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return next, fmt.Errorf("quarantine: %w", err)
		}
		if attempt == attempts {
			return next, errBusy
		}
	}
}

// end returns when the quarantine ends; zero: when it is lifted.
func (q quarantineRequest) end(now time.Time) (time.Time, error) {
	var end time.Time
	said := ""
	for _, member := range []struct {
		name  string
		value json.RawMessage
	}{{"expires", q.Expires}, {"expires_at", q.ExpiresAt}, {"duration", q.Duration}} {
		if len(member.value) == 0 || string(member.value) == "null" || string(member.value) == `""` {
			continue
		}
		if said != "" {
			return end, malformedField(member.name, "the end is said in "+said+" already")
		}
		var ok bool
		if end, ok = parseEnd(member.value, now); !ok {
			return end, malformedField(member.name, `want a duration such as "4h", or a time such as "2026-01-04T12:00:00Z"`)
		}
		if said = member.name; !end.After(now) || end.Sub(now) > maxQuarantine {
			return end, malformedField(member.name, "want an end in the future, within ten years")
		}
	}
	return end, nil
}

// parseEnd reads a duration, as text or in nanoseconds, or a time.
func parseEnd(value json.RawMessage, now time.Time) (time.Time, bool) {
	var text string
	if json.Unmarshal(value, &text) != nil {
		n, err := strconv.ParseInt(string(value), 10, 64)
		return now.Add(time.Duration(n)).UTC().Truncate(time.Microsecond), err == nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(d).UTC().Truncate(time.Microsecond), true
	}
	at, err := time.Parse(time.RFC3339, text)
	return at.UTC().Truncate(time.Microsecond), err == nil
}
