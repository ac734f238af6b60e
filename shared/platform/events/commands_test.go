package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/platform/events/eventstest"
	"github.com/isectech/service-networking/shared/platform/security"
)

const backend = "isectech-backend-services"

// verdict verifies every token with one result.
type verdict struct {
	claims token.Claims
	err    error
}

// Verify implements events.Tokens.
func (v verdict) Verify(context.Context, string) (token.Claims, error) { return v.claims, v.err }

func TestSender(t *testing.T) {
	t.Parallel()
	authority := authtest.NewAuthority(t, token.ES256)
	claims := authtest.Claims(backend, auth.PlatformAudience, auth.ServiceDiscover)
	claims.ServiceID = "backend-services-001"
	c := events.Commands{Tokens: authority.Verifier(t)}
	e := command()
	e.Auth = authority.Token(t, claims)
	got, err := c.Sender(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	want := auth.Principal{
		Subject: auth.MustSubject(backend), ServiceID: "backend-services-001", Environment: claims.Environment,
		Scopes: auth.ServiceDiscover, Method: auth.MethodJWT, Audience: auth.PlatformAudience, TokenID: claims.ID,
		KeyID: authority.Signer.Public().ID, IssuedAt: claims.IssuedAt.Unix(), ExpiresAt: claims.ExpiresAt.Unix(),
	}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if once := e.Once(got.Subject); once != backend+" //isectech.com/services/backend-services-001 7f0c" {
		t.Errorf("once %q", once)
	}
}

func TestSenderRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		auth     string
		verdict  verdict
		reason   auth.Reason
		severity security.Severity
	}{
		"no token":         {"", verdict{}, auth.NoCredentials, security.Medium},
		"forged":           {"x", verdict{err: auth.Refuse(auth.BadSignature, "the signature does not verify")}, auth.BadSignature, security.High},
		"expired":          {"x", verdict{err: auth.Refuse(auth.Expired, "")}, auth.Expired, security.Low},
		"another audience": {"x", verdict{claims: authtest.Claims(backend, "isectech-frontend", auth.APIRead)}, auth.WrongAudience, security.High},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			recorder := new(eventstest.Recorder)
			c := events.Commands{Tokens: tt.verdict, Report: events.Emitter{
				Function: "RegisterCommand", Publisher: recorder, Now: func() time.Time { return noon },
			}}
			e := command()
			e.Auth = tt.auth
			for range 2 { // delivered twice
				p, err := c.Sender(t.Context(), e)
				if !errors.Is(err, events.ErrUnauthenticated) || errors.Is(err, events.ErrUnavailable) || auth.ReasonOf(err) != tt.reason || !p.Subject.IsZero() {
					t.Errorf("%+v, %v", p, err)
				}
			}
			reported := recorder.On(events.TopicSecurityEvents)
			if len(reported) != 2 || reported[0].ID != reported[1].ID || reported[0].Type != "com.isectech.security.auth_failed.v1" {
				t.Fatalf("%+v", reported)
			}
			var incident security.Incident
			if err := json.Unmarshal(reported[0].Data, &incident); err != nil {
				t.Fatal(err)
			}
			if incident.Reason != tt.reason || incident.Severity != tt.severity || incident.Evidence["event_id"] != "7f0c" {
				t.Errorf("%+v", incident)
			}
			e.Data = []byte(`{"service_id":"other"}`)
			if _, err := c.Sender(t.Context(), e); err == nil || recorder.All()[2].Event.ID == reported[0].ID {
				t.Error("another command goes under the id of the first")
			}
		})
	}
}

// A token that is bound to a certificate is nobody's without it, and a message has no connection to show one on.
func TestSenderBound(t *testing.T) {
	t.Parallel()
	claims := authtest.Claims(backend, auth.PlatformAudience, auth.ServiceDiscover)
	claims.Thumbprint = "om8vGt3r6eTx5TI1kCeNKRJYZTUreIbHGu-Gu8FN8To"
	e := command()
	e.Auth = "x"
	p, err := events.Commands{Tokens: verdict{claims: claims}}.Sender(t.Context(), e)
	if !errors.Is(err, events.ErrUnauthenticated) || auth.ReasonOf(err) != auth.IdentityMismatch || !p.Subject.IsZero() {
		t.Errorf("%+v, %v", p, err)
	}
}

// Where nobody can tell, or the report cannot be made, the command must come again.
func TestSenderUnknown(t *testing.T) {
	t.Parallel()
	recorder := new(eventstest.Recorder)
	recorder.Fail(-1, events.ErrUnavailable)
	report := events.Emitter{Function: "RegisterCommand", Publisher: recorder, Now: func() time.Time { return noon }}
	for name, c := range map[string]events.Commands{
		"keys":   {Tokens: verdict{err: errors.New("keys out of reach")}},
		"policy": {Tokens: verdict{err: auth.Refuse(auth.PolicyUnavailable, "")}},
		"late":   {Tokens: verdict{err: context.DeadlineExceeded}},
		"report": {Tokens: verdict{err: auth.Refuse(auth.BadSignature, "")}, Report: report},
	} {
		if _, err := c.Sender(t.Context(), command()); !errors.Is(err, events.ErrUnavailable) || errors.Is(err, events.ErrUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEventDecode(t *testing.T) {
	t.Parallel()
	var body struct {
		ServiceID string `json:"service_id"`
	}
	if err := command().Decode(&body); err != nil || body.ServiceID != "backend-services-001" {
		t.Errorf("%+v, %v", body, err)
	}
	for _, data := range []string{"", "null", "{", `{"service_id":1}`, `{"Service_ID":"x"}`, `{"service_id":"a","service_id":"b"}`, `{} {}`} {
		if err := (events.Event{Data: []byte(data)}).Decode(&body); !errors.Is(err, events.ErrPoison) {
			t.Errorf("%s: %v", data, err)
		}
	}
}
