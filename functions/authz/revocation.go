package authz

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/signingkeys"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
)

var (
	errNothingToRevoke = errors.New("nothing to revoke")
	errTooManyRevoked  = errors.New("too many revoked tokens")
	errBusy            = errors.New("others keep changing it")
	errTooFast         = errors.New("everything of the service is being revoked again and again")
)

// Every instance remembers each revoked token until the token has expired, which takes 16 minutes at most. A
// revocation beyond the bound is refused and never forgotten; that of everything a service was issued takes one
// place. What owners leave is for operators.
var defaultBounds = revocationBounds{own: 80_000, all: 100_000}

// revocationBounds are how many tokens may be revoked one by one at a time, by their owners and by anyone.
type revocationBounds struct{ own, all int }

func (b revocationBounds) of(operator bool) int {
	if operator {
		return b.all
	}
	return b.own
}

// How a change is decided anew when another came first, and how far ahead of the clock the moment up to which
// tokens are revoked may get, which each revocation within a second moves on by one.
const (
	attempts = 8
	maxAhead = 5 * time.Second
)

// keyRevocationLife is how long the record of why a signing key was revoked is kept beside the key's own.
const keyRevocationLife = 400 * 24 * time.Hour

// keyRevocation revokes a signing key. It is out of the key set before there is a record of the reason, so that
// a call that is cut off leaves the safe half done.
func (s *Service) keyRevocation(r *http.Request, asked *trust.Revocation, kid string) error {
	err := s.rotation.Revoke(r.Context(), kid, asked.Actor, httpx.RequestID(r.Context()))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return httpx.NotFound("there is no such signing key").Because(err)
	case err != nil:
		return err
	}
	s.trust.Look()
	asked.Kind, asked.Value, asked.ExpiresAt = trust.RevokedKey, kid, asked.RevokedAt.Add(keyRevocationLife)
	return nil
}

// recordRevocation writes a revocation, or returns the one that there is. Revoking everything of a service again
// revokes what it was issued since.
func (s *Service) recordRevocation(ctx context.Context, asked trust.Revocation, cause string) (trust.Revocation, error) {
	ref := trust.RevocationRef(asked)
	for attempt := 1; ; attempt++ {
		next, condition := asked, store.Absent()
		doc, err := s.deps.Store.Get(ctx, ref)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return trust.Revocation{}, err
		default:
			was := trust.Revocation{ExpiresAt: doc.ExpiresAt}
			if err := doc.Decode(&was); err != nil {
				return trust.Revocation{}, err
			}
			if asked.Kind != trust.RevokedSubject {
				s.trust.Look()
				return was, nil
			}
			if !next.RevokedAt.After(was.RevokedAt) {
				// Tokens issued since the last time carry the second after it.
				if next.RevokedAt = was.RevokedAt.Add(time.Second); next.RevokedAt.Sub(asked.RevokedAt) > maxAhead {
					return trust.Revocation{}, errTooFast
				}
			}
			condition = store.AtGeneration(doc.Generation)
		}
		if next.Kind == trust.RevokedSubject {
			next.ExpiresAt = trust.SubjectRevocationEnd(next.RevokedAt)
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
			return trust.Revocation{}, fmt.Errorf("revoke: %w", err)
		}
		if attempt == attempts {
			return trust.Revocation{}, errBusy
		}
	}
}

// revocationErrors answers what can go wrong with a revocation or a quarantine.
func revocationErrors() httpx.Table {
	return httpx.Table{
		{Is: errTooManyRevoked, As: httpx.Unavailable(time.Minute, "too many tokens are revoked one by one; revoke everything of a service at once, or wait")},
		{Is: errTooFast, As: httpx.Unavailable(time.Second, "everything of the service has just been revoked several times")},
		{Is: signingkeys.ErrContended, As: httpx.Unavailable(time.Second, "the signing keys are being changed by someone else")},
		{Is: errBusy, As: httpx.Unavailable(time.Second, "it is being changed by someone else")},
	}
}
