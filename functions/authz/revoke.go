package authz

import (
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
)

// revokeRequest names exactly one thing to be revoked. ServiceName stands beside APIKeyID, whose service it
// names, or alone.
type revokeRequest struct {
	Token         string `json:"token"`
	TokenTypeHint string `json:"token_type_hint"` // RFC 7009 §2.1; there is one type
	TokenID       string `json:"jti"`
	ServiceName   string `json:"service_name"`
	KeyID         string `json:"kid"`
	APIKeyID      string `json:"api_key_id"`
	Serial        string `json:"serial"`
	Reason        string `json:"reason"`
}

// revocation is what was revoked, as its caller sees it.
type revocation struct {
	trust.Revocation

	ExpiresAt *time.Time `json:"expires_at,omitempty"` // when the revocation is not needed any more
}

// revoke takes back a token of the caller's own (RFC 7009) or, for operators, whatever else can be revoked. It
// holds here from its answer on, and on every other instance as soon as that has looked, a second later.
func (s *Service) revoke(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	p, st, err := s.guard.Caller(r, guard.Access{Write: true})
	if err != nil {
		return err
	}
	req, err := readRevocation(r)
	if err != nil {
		return err
	}
	operator := guard.Scopes(p, st).Has(auth.AdminWrite)
	if req.Token == "" && !operator {
		return s.guard.Lacks(r, p, auth.AdminWrite)
	}
	now := s.deps.Now().UTC().Truncate(time.Second)
	asked := trust.Revocation{Reason: req.Reason, Actor: p.Subject.String(), RevokedAt: now}
	switch {
	case req.Token != "":
		err = s.tokenRevocation(r, &asked, req.Token, p, operator)
	case req.TokenID != "":
		asked.Kind, asked.ExpiresAt = trust.RevokedToken, trust.TokenRevocationEnd(now, time.Time{})
		asked.Value, err = trust.ParseTokenID(req.TokenID)
		err = inField("jti", err)
	case req.APIKeyID != "":
		err = s.apiKeyRevocation(r, &asked, req, st)
	case req.ServiceName != "":
		err = subjectRevocation(&asked, req.ServiceName, st)
	case req.KeyID != "":
		err = s.keyRevocation(r, &asked, req.KeyID)
	default:
		asked.Kind = trust.RevokedSerial
		asked.Value, err = trust.ParseSerial(req.Serial)
		err = inField("serial", err)
	}
	if errors.Is(err, errNothingToRevoke) {
		return httpx.WriteJSON(w, http.StatusOK, struct{}{})
	}
	if err != nil {
		return err
	}
	if asked.Kind == trust.RevokedToken && st.RevokedTokens() >= s.bounds.of(operator) {
		return errTooManyRevoked
	}
	done, err := s.recordRevocation(r.Context(), asked, httpx.RequestID(r.Context()))
	if err != nil {
		return err
	}
	s.deps.Logger.LogAttrs(r.Context(), slog.LevelWarn, "revoked",
		slog.String("kind", string(done.Kind)), slog.String("value", done.Value), slog.String("reason", done.Reason))
	answer := revocation{Revocation: done}
	if !done.ExpiresAt.IsZero() {
		answer.ExpiresAt = &done.ExpiresAt
	}
	return httpx.WriteJSON(w, http.StatusOK, answer)
}

// readRevocation reads a form, as RFC 7009 has it, or JSON.
func readRevocation(r *http.Request) (revokeRequest, error) {
	var req revokeRequest
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && kind == "application/x-www-form-urlencoded" {
		form, err := httpx.Form(r)
		if err != nil {
			return req, err
		}
		req = revokeRequest{
			Token: form["token"], TokenTypeHint: form["token_type_hint"], TokenID: form["jti"], ServiceName: form["service_name"],
			KeyID: form["kid"], APIKeyID: form["api_key_id"], Serial: form["serial"], Reason: form["reason"],
		}
	} else if err := httpx.DecodeJSON(r, &req); err != nil {
		return req, err
	}
	return req, req.check()
}

func (q revokeRequest) check() error {
	named := 0
	for _, value := range []string{q.Token, q.TokenID, q.KeyID, q.Serial, q.APIKeyID, q.ServiceName} {
		if value != "" {
			named++
		}
	}
	if q.APIKeyID != "" && q.ServiceName != "" {
		named--
	}
	switch {
	case named != 1:
		return malformedField("", "want exactly one of token, jti, service_name, kid, serial, and api_key_id with service_name")
	case q.APIKeyID != "" && q.ServiceName == "":
		return malformedField("service_name", "say whose API key it is")
	}
	return checkReason(q.Reason, false)
}

// checkReason checks the words that an operator leaves for others.
func checkReason(reason string, required bool) error {
	switch {
	case reason == "" && required:
		return malformedField("reason", "is missing")
	case len(reason) > trust.MaxReason:
		return malformedField("reason", "want at most 512 bytes")
	case !utf8.ValidString(reason) || strings.ContainsFunc(reason, unicode.IsControl):
		return malformedField("reason", "want UTF-8 text without control characters")
	}
	return nil
}

func malformedField(field, message string) error {
	return httpx.InvalidRequest("the request is malformed", httpx.FieldError{Field: field, Message: message})
}

// inField makes a 400 of what is wrong with a value.
func inField(field string, err error) error {
	if err == nil {
		return nil
	}
	return malformedField(field, err.Error())
}

// tokenRevocation is about a token that the caller shows.
func (s *Service) tokenRevocation(r *http.Request, asked *trust.Revocation, raw string, p auth.Principal, operator bool) error {
	claims, err := s.guard.Tokens.Verify(r.Context(), raw)
	switch {
	case auth.ReasonOf(err) != "": // invalid already, which is what was asked for (RFC 7009 §2.2)
		return errNothingToRevoke
	case err != nil:
		return err
	case claims.Subject != p.Subject && !operator:
		s.guard.NotOwner(r, p)
		return httpx.Forbidden("not_owner", "the token was issued to someone else")
	}
	asked.Kind, asked.Value, asked.Service = trust.RevokedToken, claims.ID, claims.Subject.String()
	asked.ExpiresAt = trust.TokenRevocationEnd(asked.RevokedAt, claims.ExpiresAt)
	return nil
}

// subjectRevocation is about all tokens that a service, or an operator, has been issued by now.
func subjectRevocation(asked *trust.Revocation, ref string, st *trust.State) error {
	subject, ok := st.Resolve(ref)
	if !ok {
		var err error
		if subject, err = auth.ParseSubject(ref); err != nil {
			return malformedField("service_name", "is no service's name")
		}
		if !subject.IsOperator() {
			return httpx.NotFound("the policy knows no service of that name")
		}
	}
	asked.Kind, asked.Value, asked.Service = trust.RevokedSubject, subject.String(), subject.String()
	return nil
}

// apiKeyRevocation is about a version of a service's API key that there is, or was.
func (s *Service) apiKeyRevocation(r *http.Request, asked *trust.Revocation, req revokeRequest, st *trust.State) error {
	service, ok := st.Resolve(req.ServiceName)
	if !ok {
		return httpx.NotFound("the policy knows no service of that name")
	}
	version, err := trust.KeyVersion(req.APIKeyID)
	if err != nil {
		return malformedField("api_key_id", "want k1, k2, …")
	}
	doc, err := s.deps.Store.Get(r.Context(), trust.APIKeysRef(service))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	var keys trust.APIKeys
	if err == nil {
		if err := doc.Decode(&keys); err != nil {
			return err
		}
	}
	if len(keys.Versions) == 0 || version > slices.Max(keys.Versions) { // a key yet to be made must not be dead on arrival
		return httpx.NotFound("the service has no such API key")
	}
	asked.Kind, asked.Value, asked.Service = trust.RevokedAPIKey, req.APIKeyID, service.String()
	return nil
}
