package events

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/security"
)

// Commands says who sent a command.
type Commands struct {
	Tokens Tokens
	Report Reporter // nil reports nothing
}

// Tokens verifies access tokens, all but their audience; token.Verifier does.
type Tokens interface {
	Verify(ctx context.Context, raw string) (token.Claims, error)
}

// Reporter takes incidents; Emitter does.
type Reporter interface {
	Security(ctx context.Context, id string, incident security.Incident) error
}

// Sender returns who sent a command: the subject of its access token, which must be one for the platform
// itself. What the sender may do is the caller's to decide.
//
// An error that wraps ErrUnauthenticated says that there is no valid credential; it has been reported as a
// security event, and wraps the *auth.Refusal. One that wraps ErrUnavailable says that nobody can tell now, or
// that the report could not be made.
func (c Commands) Sender(ctx context.Context, e Event) (auth.Principal, error) {
	p, err := c.verify(ctx, e.Auth)
	if err == nil {
		return p, nil
	}
	reason := auth.ReasonOf(err)
	switch {
	case reason == "", reason == auth.PolicyUnavailable, reason == auth.NonceUnavailable:
		return auth.Principal{}, fmt.Errorf("command %s: %w: %w", e.Cause(), ErrUnavailable, err)
	case c.Report != nil:
		if reportErr := c.Refused(ctx, e, auth.Principal{}, err); reportErr != nil {
			return auth.Principal{}, reportErr
		}
	}
	return auth.Principal{}, fmt.Errorf("command %s: %w: %w", e.Cause(), ErrUnauthenticated, err)
}

func (c Commands) verify(ctx context.Context, raw string) (auth.Principal, error) {
	if raw == "" {
		return auth.Principal{}, auth.Refuse(auth.NoCredentials, "the command carries no access token")
	}
	claims, err := c.Tokens.Verify(ctx, raw)
	if err != nil {
		return auth.Principal{}, err
	}
	if claims.Audience != auth.PlatformAudience {
		return auth.Principal{}, auth.Refuse(auth.WrongAudience, "the command's access token is not one for the platform")
	}
	if claims.Thumbprint != "" {
		return auth.Principal{}, auth.Refuse(auth.IdentityMismatch, "the command's access token is bound to a client certificate, which no message can show")
	}
	return authn.PrincipalOf(&claims), nil
}

// Refused reports that a command was refused, for want of a credential or of a right: p is its sender, zero
// where that is not known. The same command delivered again is the same incident.
func (c Commands) Refused(ctx context.Context, e Event, p auth.Principal, refusal error) error {
	if c.Report == nil {
		return nil
	}
	reason, detail := auth.ReasonOf(refusal), ""
	if r, ok := errors.AsType[*auth.Refusal](refusal); ok {
		detail = r.Detail
	}
	kind, severity := security.Classify(reason)
	err := c.Report.Security(ctx, incidentID(e), security.Incident{
		Kind: kind, Severity: severity, ServiceName: p.Subject.String(), Reason: reason, Detail: detail,
		Evidence: map[string]string{"event_id": e.ID, "event_source": e.Source, "event_type": e.Type, "event_subject": e.Subject},
	})
	if err != nil {
		return fmt.Errorf("report the refused command %s: %w", e.Cause(), err)
	}
	return nil
}

// incidentID names all that a refused command is, so that none can be sent in the place of another to keep
// that from being reported.
func incidentID(e Event) string {
	sum := sha256.New()
	for _, part := range []string{e.Source, e.ID, e.Type, e.Subject, e.Auth, string(e.Data)} {
		digest := sha256.Sum256([]byte(part)) // of one length, so that the parts cannot run into each other
		_, _ = sum.Write(digest[:])           // never fails
	}
	return "refused-" + hex.EncodeToString(sum.Sum(nil)[:16])
}
