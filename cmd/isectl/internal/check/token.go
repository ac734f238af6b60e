package check

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/token"
)

// Tokens judges access tokens.
type Tokens struct {
	Keys          token.Keys
	Policy        *policy.Policy // nil: who is in it and who may call whom is not judged
	Now           func() time.Time
	Issuer        string // empty: the platform's
	Audience      string // empty: not judged
	SignatureOnly bool   // form, key, algorithm and signature alone
}

// TokenVerdict is what a token is found to be. Claims are what the token says, signed or not, and nil
// when that cannot be read.
type TokenVerdict struct {
	Valid  bool            `json:"valid"`
	Reason auth.Reason     `json:"reason"`
	Detail string          `json:"detail,omitempty"`
	Claims json.RawMessage `json:"claims"`
}

// Judge judges one token.
func (t *Tokens) Judge(ctx context.Context, raw string) TokenVerdict {
	err := t.judge(ctx, raw)
	verdict := TokenVerdict{Valid: err == nil, Reason: auth.Allowed, Claims: claimsOf(raw)}
	if err != nil {
		verdict.Reason, verdict.Detail = auth.MalformedToken, err.Error()
		var refusal *auth.Refusal
		if errors.As(err, &refusal) {
			verdict.Reason, verdict.Detail = refusal.Reason, refusal.Detail
		}
	}
	return verdict
}

func (t *Tokens) judge(ctx context.Context, raw string) error {
	verifier := token.Verifier{Keys: t.Keys, Issuer: t.Issuer, Now: t.Now}
	if t.SignatureOnly {
		_, err := verifier.VerifySignature(ctx, raw)
		return err
	}
	claims, err := verifier.Verify(ctx, raw)
	if err != nil {
		return err
	}
	if t.Policy != nil {
		return t.decide(claims)
	}
	if t.Audience != "" {
		return claims.CheckAudience(t.Audience)
	}
	return nil
}

// decide asks the policy what authz would ask it: about the caller and, where an audience is given, about
// the edge to it.
func (t *Tokens) decide(claims token.Claims) error {
	question := policy.Question{
		Caller: claims.Subject, Environment: claims.Environment, Held: claims.Scopes, AnyRequest: true,
	}
	if t.Audience != "" {
		target, ok := t.Policy.Resolve(t.Audience)
		if !ok {
			var err error
			if target, err = auth.ParseSubject(t.Audience); err != nil {
				return auth.Refuse(auth.WrongAudience, "the audience asked about is no service's name")
			}
		}
		question.Target, question.Audience = target, claims.Audience
	}
	if d := t.Policy.Decide(question); !d.Allow {
		return auth.Refuse(d.Reason, "")
	}
	return nil
}

// claimsOf reads the payload of a token of which nothing has been proved.
func claimsOf(raw string) json.RawMessage {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || len(raw) > token.MaxSize {
		return nil
	}
	payload, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
	if err != nil {
		return nil
	}
	value := jsontext.Value(payload)
	// IsValid refuses duplicate members and bad UTF-8; Compact alone does not.
	if value.Kind() != '{' || !value.IsValid() || value.Compact() != nil {
		return nil
	}
	return json.RawMessage(value)
}
