package authz

import (
	"errors"
	"net/http"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/signingkeys"
)

// keyView is a signing key as operators see it: never its secret.
type keyView struct {
	KeyID         string    `json:"kid"`
	Algorithm     string    `json:"algorithm"`
	State         string    `json:"state"`
	Since         time.Time `json:"since"` // when it came into its state
	SecretVersion int64     `json:"secret_version"`
}

// stepView is a step of a rotation.
type stepView struct {
	Step  string     `json:"step"`
	KeyID string     `json:"kid,omitzero"`
	DueAt *time.Time `json:"due_at,omitempty"`
}

// rotationView is what was done to the keys, what they are now and what comes next.
type rotationView struct {
	Done []stepView `json:"done,omitempty"`
	Keys []keyView  `json:"keys"`
	Next *stepView  `json:"next,omitempty"`
}

// signingKeys lists the signing keys and the step that is due next.
func (s *Service) signingKeys(w http.ResponseWriter, r *http.Request) error {
	if _, _, err := s.guard.Caller(r, guard.Access{AnyOf: []auth.Scopes{auth.AdminRead}}); err != nil {
		return err
	}
	records, err := s.rotation.List(r.Context())
	if err != nil {
		return err
	}
	step, due := s.rotation.Next(records)
	return httpx.WriteJSON(w, http.StatusOK, viewKeys(signingkeys.Report{Keys: records, Next: step, Due: due}))
}

// rotate begins a rotation of the signing keys, or takes the steps of the one under way that are due. It
// may be asked any number of times.
func (s *Service) rotate(w http.ResponseWriter, r *http.Request) error {
	p, _, err := s.guard.Caller(r, guard.Access{AnyOf: []auth.Scopes{auth.AdminWrite}, Write: true})
	if err != nil {
		return err
	}
	var asked struct {
		Algorithm string `json:"algorithm"`
	}
	if r.ContentLength != 0 {
		if err := httpx.DecodeJSON(r, &asked); err != nil {
			return err
		}
	}
	report, err := s.rotation.Rotate(r.Context(), signingkeys.Request{
		Begin: true, Algorithm: asked.Algorithm, Actor: p.Subject.String(), Cause: httpx.RequestID(r.Context()),
	})
	s.trust.Look() // so that it holds here from the answer on
	switch {
	case errors.Is(err, signingkeys.ErrAlgorithm):
		return httpx.InvalidRequest("the request is malformed", httpx.FieldError{Field: "algorithm", Message: "want ES256, EdDSA or RS256"})
	case err != nil:
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, viewKeys(report))
}

func viewKeys(report signingkeys.Report) rotationView {
	view := rotationView{Keys: make([]keyView, len(report.Keys))}
	for i, k := range report.Keys {
		view.Keys[i] = keyView{KeyID: k.ID, Algorithm: k.Algorithm, State: k.State, Since: k.Since, SecretVersion: k.SecretVersion}
	}
	for _, step := range report.Done {
		view.Done = append(view.Done, stepView{Step: step.Kind, KeyID: step.KeyID})
	}
	if report.Next.Kind != "" {
		view.Next = &stepView{Step: report.Next.Kind, KeyID: report.Next.KeyID, DueAt: new(report.Due.UTC())}
	}
	return view
}

// keyErrors is the part of the table of errors about the signing keys.
func keyErrors() httpx.Table {
	return httpx.Table{
		{Is: signingkeys.ErrNoKeys, As: httpx.Unavailable(time.Minute, "there is no signing key yet: bootstrap makes the first")},
		{Is: signingkeys.ErrTooMany, As: httpx.Conflict(0, "there are too many signing keys; the oldest can be forgotten half an hour after it was retired or revoked")},
	}
}
