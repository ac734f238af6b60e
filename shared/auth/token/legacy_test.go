package token_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/token"
)

const legacyHeader = `{"alg":"HS256","kid":"k1","typ":"JWT"}`

var legacySecret = []byte("0123456789abcdef0123456789abcdef")

func legacy(t *testing.T, a *authtest.Authority, secret []byte) *token.Legacy {
	t.Helper()
	return &token.Legacy{
		Next: a.Verifier(t), KeyID: "k1",
		Secret: func(context.Context) ([]byte, error) { return secret, nil },
	}
}

func TestLegacy(t *testing.T) {
	t.Parallel()
	a := authtest.NewAuthority(t, token.RS256)
	v := legacy(t, a, legacySecret)
	good := a.ClaimsJSON(t, gatewayClaims())
	operator := authtest.Claims("operator:ops@isectech.com", auth.PlatformAudience, auth.AllScopes)
	operator.Environment = ""
	kid := a.Signer.Public().ID
	hs256 := func(header, payload string) string {
		return authtest.HMAC(t, token.HS256, legacySecret, header, payload)
	}
	for _, tc := range []struct {
		name, raw string
		want      auth.Reason
	}{
		{"as old clients sign", hs256(legacyHeader, good), ""},
		{"without a type", hs256(`{"alg":"HS256","kid":"k1"}`, good), ""},
		{"of the type of today", hs256(`{"alg":"HS256","kid":"k1","typ":"at+jwt"}`, good), ""},
		{"a token of today", a.Token(t, gatewayClaims()), ""},
		{"of another type", hs256(`{"alg":"HS256","kid":"k1","typ":"dpop+jwt"}`, good), auth.MalformedToken},
		{"an empty type", hs256(`{"alg":"HS256","kid":"k1","typ":""}`, good), auth.MalformedToken},
		{"without a kid", hs256(`{"alg":"HS256","typ":"JWT"}`, good), auth.BadSignature},
		{"another version of the secret", hs256(`{"alg":"HS256","kid":"k2"}`, good), auth.BadSignature},
		{"critical", hs256(`{"alg":"HS256","kid":"k1","crit":["x"],"x":1}`, good), auth.MalformedToken},
		{"not encoded", hs256(`{"alg":"HS256","kid":"k1","b64":false}`, good), auth.MalformedToken},
		{"a member twice", hs256(`{"alg":"HS256","kid":"k1","kid":"k1"}`, good), auth.MalformedToken},
		{"another secret", authtest.HMAC(t, token.HS256, []byte(strings.Repeat("x", 32)), legacyHeader, good), auth.BadSignature},
		{"the start of the secret", authtest.HMAC(t, token.HS256, legacySecret[:31], legacyHeader, good), auth.BadSignature},
		{"no signature", authtest.Unsigned(legacyHeader, good), auth.BadSignature},
		{"a longer hash", authtest.HMAC(t, "HS512", legacySecret, `{"alg":"HS512","kid":"k1"}`, good), auth.BadSignature},
		{"a longer hash under the name of HS256", authtest.HMAC(t, "HS512", legacySecret, legacyHeader, good), auth.BadSignature},
		{"none", authtest.Unsigned(`{"alg":"none","kid":"k1"}`, good), auth.BadSignature},
		{"in lower case", hs256(`{"alg":"hs256","kid":"k1"}`, good), auth.BadSignature},

		// One kind of key taken for another.
		{"a public key as the secret", authtest.HMAC(t, token.HS256, a.PublicPEM(t), legacyHeader, good), auth.BadSignature},
		{"a public key as the secret, by its kid", authtest.HMAC(t, token.HS256, a.PublicPEM(t), `{"alg":"HS256","kid":"`+kid+`"}`, good), auth.BadSignature},
		{"the secret by a public key's kid", hs256(`{"alg":"HS256","kid":"`+kid+`"}`, good), auth.BadSignature},
		{"the secret's kid with a private key", a.Raw(t, `{"alg":"RS256","kid":"k1","typ":"at+jwt"}`, good), auth.UnknownKey},
		{"the secret as a private key's signature", hs256(`{"alg":"RS256","kid":"`+kid+`","typ":"at+jwt"}`, good), auth.BadSignature},
		{"the type of old clients with a private key", a.Raw(t, `{"alg":"RS256","kid":"`+kid+`","typ":"JWT"}`, good), auth.MalformedToken},

		// The claims are held to the rules of every token.
		{"no exp", hs256(legacyHeader, authtest.With(t, good, "exp", "")), auth.MalformedToken},
		{"no jti", hs256(legacyHeader, authtest.With(t, good, "jti", "")), auth.MalformedToken},
		{"of another issuer", hs256(legacyHeader, authtest.With(t, good, "iss", `"x"`)), auth.WrongIssuer},
		{"two names", hs256(legacyHeader, authtest.With(t, good, "client_id", `"isectech-admin"`)), auth.IdentityMismatch},
		{"an operator", hs256(legacyHeader, a.ClaimsJSON(t, operator)), auth.IdentityMismatch},
		{"nothing", "", auth.MalformedToken},
		{"too long", hs256(legacyHeader, authtest.With(t, good, "x", `"`+strings.Repeat("x", 8<<10)+`"`)), auth.MalformedToken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			claims, err := v.Verify(t.Context(), tc.raw)
			if auth.ReasonOf(err) != tc.want || (err == nil) != (tc.want == "") {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			if (err == nil) != (claims.Subject.String() == gateway) {
				t.Errorf("claims %+v beside %v", claims, err)
			}
		})
	}

	late := legacy(t, a, legacySecret)
	late.Next.Now = func() time.Time { return authtest.Now.Add(time.Hour) }
	if _, err := late.Verify(t.Context(), hs256(legacyHeader, good)); auth.ReasonOf(err) != auth.Expired {
		t.Errorf("an hour later: %v", err)
	}
	// Where the mode is off.
	if _, err := a.Verifier(t).Verify(t.Context(), hs256(legacyHeader, good)); auth.ReasonOf(err) != auth.BadSignature {
		t.Errorf("without the mode: %v", err)
	}
}

func TestLegacySecrets(t *testing.T) {
	t.Parallel()
	a := authtest.NewAuthority(t, token.ES256)
	for _, secret := range []string{"", "short", strings.Repeat("x", 31), strings.Repeat("x", 31) + "\n", strings.Repeat(" ", 64)} {
		raw := authtest.HMAC(t, token.HS256, []byte(secret), legacyHeader, a.ClaimsJSON(t, gatewayClaims()))
		if _, err := legacy(t, a, []byte(secret)).Verify(t.Context(), raw); !errors.Is(err, token.ErrShortSecret) || auth.ReasonOf(err) != "" {
			t.Errorf("%d bytes: %v", len(secret), err)
		}
	}
	gone := legacy(t, a, nil)
	fault := errors.New("out of reach")
	gone.Secret = func(context.Context) ([]byte, error) { return nil, fault }
	raw := authtest.HMAC(t, token.HS256, legacySecret, legacyHeader, a.ClaimsJSON(t, gatewayClaims()))
	if _, err := gone.Verify(t.Context(), raw); !errors.Is(err, fault) || auth.ReasonOf(err) != "" {
		t.Errorf("got %v", err)
	}
	if _, err := gone.Verify(t.Context(), a.Token(t, gatewayClaims())); err != nil {
		t.Errorf("a token of today, with the secret out of reach: %v", err)
	}
	for _, v := range []*token.Legacy{{}, {Next: a.Verifier(t), KeyID: "k1"}, {Next: a.Verifier(t), Secret: gone.Secret}} {
		if _, err := v.Verify(t.Context(), raw); err == nil || auth.ReasonOf(err) != "" {
			t.Errorf("an incomplete verifier: %v", err)
		}
	}
}

// No text is accepted in the old mode but by the secret itself.
func FuzzLegacy(f *testing.F) {
	f.Add(legacyHeader, `{"sub":"isectech-admin"}`, "k1")
	f.Add(`{"alg":"HS256","kid":"k1"}`, `{}`, "")
	f.Add(`{"alg":"none","kid":"k1"}`, ``, "k1")
	f.Fuzz(func(t *testing.T, header, payload, key string) {
		v := &token.Legacy{
			Next: &token.Verifier{Keys: (*token.KeySet)(nil), Now: authtest.Clock}, KeyID: "k1",
			Secret: func(context.Context) ([]byte, error) { return legacySecret, nil },
		}
		for _, raw := range []string{
			authtest.Unsigned(header, payload), header + "." + payload + "." + key,
			authtest.HMAC(t, token.HS256, []byte(key), header, payload),
		} {
			if _, err := v.Verify(t.Context(), raw); auth.ReasonOf(err) == "" && key != string(legacySecret) {
				t.Errorf("%q: %v", raw, err)
			}
		}
	})
}
