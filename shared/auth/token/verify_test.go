package token_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/token"
)

const (
	gateway = "isectech-api-gateway"
	backend = "isectech-backend-services"
)

func gatewayClaims() token.Claims {
	return authtest.Claims(gateway, backend, auth.APIRead|auth.APIWrite)
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{token.ES256, token.EdDSA, token.RS256} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			a := authtest.NewAuthority(t, alg)
			want := gatewayClaims()
			want.ServiceID = "api-gateway-001"
			sum := sha256.Sum256([]byte("certificate"))
			want.Thumbprint = base64.RawURLEncoding.EncodeToString(sum[:])
			got, err := a.Verifier(t).Verify(t.Context(), a.Token(t, want))
			if err != nil {
				t.Fatal(err)
			}
			want.Issuer, want.NotBefore, want.KeyID = auth.Issuer, want.IssuedAt, a.Signer.Public().ID
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b auth.Subject) bool { return a == b })); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOperatorToken(t *testing.T) {
	t.Parallel()
	a := authtest.NewAuthority(t, token.ES256)
	c := authtest.Claims("operator:ops@isectech.com", auth.PlatformAudience, auth.AdminRead|auth.AdminWrite)
	c.Environment = ""
	payload := a.ClaimsJSON(t, c)
	if strings.Contains(payload, "environment") {
		t.Errorf("an operator's claims name an environment: %s", payload)
	}
	got, err := a.Verifier(t).Verify(t.Context(), a.Token(t, c))
	if err != nil || !got.Subject.IsOperator() || got.Environment != "" {
		t.Errorf("claims %+v, error %v", got, err)
	}
}

// member is one change to an object: a raw JSON value, or "" to leave the member out.
type member struct{ name, value string }

func TestVerifyClaims(t *testing.T) {
	t.Parallel()
	a := authtest.NewAuthority(t, token.ES256)
	v := a.Verifier(t)
	base := a.ClaimsJSON(t, gatewayClaims())
	at := func(d time.Duration) string { return fmt.Sprint(authtest.Now.Add(d).Unix()) }
	const minute = time.Minute
	x5t := base64.RawURLEncoding.EncodeToString(make([]byte, 32))

	tests := []struct {
		name   string
		change []member
		want   auth.Reason // empty: accepted
	}{
		{"unchanged", nil, ""},
		{"unknown claim", []member{{"act", `{"sub":"x"}`}}, ""},
		{"audience of one", []member{{"aud", `["isectech-backend-services"]`}}, ""},
		{"no nbf", []member{{"nbf", ""}}, ""},
		{"no scope", []member{{"scope", ""}}, ""},
		{"no scopes", []member{{"scopes", ""}}, ""},
		{"scope of a later version", []member{{"scopes", `["api:read","api:write","x:y"]`}}, ""},
		{"with instance", []member{{"service_id", `"api-gateway-001"`}}, ""},
		{"bound to a certificate", []member{{"cnf", `{"x5t#S256":"` + x5t + `"}`}}, ""},
		{"expired within leeway", []member{{"iat", at(-5 * minute)}, {"nbf", ""}, {"exp", at(-29 * time.Second)}}, ""},
		{"begins within leeway", []member{{"iat", at(30 * time.Second)}, {"nbf", at(30 * time.Second)}}, ""},
		{"longest lifetime", []member{{"exp", at(15 * minute)}}, ""},

		{"expired at leeway", []member{{"iat", at(-5 * minute)}, {"nbf", ""}, {"exp", at(-30 * time.Second)}}, auth.Expired},
		{"expired, long-lived", []member{{"iat", at(-60 * minute)}, {"exp", at(-20 * minute)}}, auth.Expired},
		{"expired before it began", []member{{"exp", at(-60 * minute)}}, auth.Expired},
		{"exp zero", []member{{"exp", "0"}}, auth.Expired},
		{"future iat", []member{{"iat", at(31 * time.Second)}, {"nbf", ""}}, auth.NotYetValid},
		{"iat after exp", []member{{"iat", at(60 * minute)}, {"nbf", ""}}, auth.NotYetValid},
		{"future nbf", []member{{"nbf", at(31 * time.Second)}}, auth.NotYetValid},
		{"lifetime a second above", []member{{"exp", at(15*minute + time.Second)}}, auth.MalformedToken},
		{"exp in year 9999", []member{{"exp", "253402300799"}}, auth.MalformedToken},
		{"no time between", []member{{"iat", at(10 * time.Second)}, {"exp", at(10 * time.Second)}}, auth.MalformedToken},
		{"nbf after exp", []member{{"nbf", at(10 * time.Second)}, {"iat", at(-minute)}, {"exp", at(5 * time.Second)}}, auth.MalformedToken},

		{"other issuer", []member{{"iss", `"isectech-platform2"`}}, auth.WrongIssuer},
		{"issuer in capitals", []member{{"iss", `"ISECTECH-PLATFORM"`}}, auth.WrongIssuer},
		{"empty issuer", []member{{"iss", `""`}}, auth.WrongIssuer},
		{"wrong issuer and expired", []member{{"iss", `"x"`}, {"exp", "0"}}, auth.WrongIssuer},

		{"client_id differs", []member{{"client_id", `"isectech-frontend"`}}, auth.IdentityMismatch},
		{"service_name differs", []member{{"service_name", `"isectech-frontend"`}}, auth.IdentityMismatch},
		{"sub differs", []member{{"sub", `"isectech-frontend"`}}, auth.IdentityMismatch},
		{"sub differs and expired", []member{{"sub", `"isectech-frontend"`}, {"exp", "0"}}, auth.Expired},

		{"sub in capitals", []member{{"sub", `"Isectech-Api-Gateway"`}}, auth.MalformedToken},
		{"sub is a path", []member{{"sub", `"../x"`}}, auth.MalformedToken},
		{"sub empty", []member{{"sub", `""`}}, auth.MalformedToken},
		{"sub is an array", []member{{"sub", `["isectech-api-gateway"]`}}, auth.MalformedToken},
		{"claim in another case", []member{{"exp", ""}, {"EXP", at(minute)}}, auth.MalformedToken},
		{"no iss", []member{{"iss", ""}}, auth.MalformedToken},
		{"no sub", []member{{"sub", ""}}, auth.MalformedToken},
		{"no client_id", []member{{"client_id", ""}}, auth.MalformedToken},
		{"no service_name", []member{{"service_name", ""}}, auth.MalformedToken},
		{"no aud", []member{{"aud", ""}}, auth.MalformedToken},
		{"no exp", []member{{"exp", ""}}, auth.MalformedToken},
		{"no iat", []member{{"iat", ""}}, auth.MalformedToken},
		{"no jti", []member{{"jti", ""}}, auth.MalformedToken},
		{"no environment", []member{{"environment", ""}}, auth.MalformedToken},
		{"unknown environment", []member{{"environment", `"prod"`}}, auth.MalformedToken},
		{"empty environment", []member{{"environment", `""`}}, auth.MalformedToken},
		{"null sub", []member{{"sub", "null"}}, auth.MalformedToken},
		{"null exp", []member{{"exp", "null"}}, auth.MalformedToken},
		{"null nbf", []member{{"nbf", "null"}}, auth.MalformedToken},
		{"null aud", []member{{"aud", "null"}}, auth.MalformedToken},
		{"null environment", []member{{"environment", "null"}}, auth.MalformedToken},
		{"null cnf", []member{{"cnf", "null"}}, auth.MalformedToken},
		{"null scopes", []member{{"scopes", "null"}}, auth.MalformedToken},
		{"jti is a number", []member{{"jti", "1"}}, auth.MalformedToken},
		{"jti empty", []member{{"jti", `""`}}, auth.MalformedToken},
		{"jti with newline", []member{{"jti", `"a\nb"`}}, auth.MalformedToken},
		{"jti too long", []member{{"jti", `"` + strings.Repeat("a", 129) + `"`}}, auth.MalformedToken},
		{"service_id is no id", []member{{"service_id", `"A B"`}}, auth.MalformedToken},
		{"service_id empty", []member{{"service_id", `""`}}, auth.MalformedToken},

		{"exp is text", []member{{"exp", `"` + at(minute) + `"`}}, auth.MalformedToken},
		{"exp with fraction", []member{{"exp", at(minute) + ".5"}}, auth.MalformedToken},
		{"exp with zero fraction", []member{{"exp", at(minute) + ".0"}}, auth.MalformedToken},
		{"exp with exponent", []member{{"exp", "1.7e9"}}, auth.MalformedToken},
		{"exp huge", []member{{"exp", "1e400"}}, auth.MalformedToken},
		{"exp beyond int64", []member{{"exp", "99999999999999999999"}}, auth.MalformedToken},
		{"exp wraps", []member{{"exp", "18446744073709551616"}}, auth.MalformedToken},
		{"exp after year 9999", []member{{"exp", "253402300800"}}, auth.MalformedToken},
		{"exp negative", []member{{"exp", "-1"}}, auth.MalformedToken},
		{"exp negative zero", []member{{"exp", "-0"}}, auth.MalformedToken},
		{"exp true", []member{{"exp", "true"}}, auth.MalformedToken},
		{"exp array", []member{{"exp", "[1]"}}, auth.MalformedToken},
		{"iat is text", []member{{"iat", `"1"`}}, auth.MalformedToken},
		{"nbf negative", []member{{"nbf", "-5"}}, auth.MalformedToken},

		{"two audiences", []member{{"aud", `["isectech-backend-services","isectech-admin"]`}}, auth.MalformedToken},
		{"no audience in array", []member{{"aud", `[]`}}, auth.MalformedToken},
		{"nested audience", []member{{"aud", `[["isectech-backend-services"]]`}}, auth.MalformedToken},
		{"audience is an object", []member{{"aud", `{}`}}, auth.MalformedToken},
		{"audience empty", []member{{"aud", `""`}}, auth.MalformedToken},
		{"scopes is text", []member{{"scopes", `"api:read"`}}, auth.MalformedToken},
		{"scopes of numbers", []member{{"scopes", `[1]`}}, auth.MalformedToken},
		{"scope is an array", []member{{"scope", `["api:read"]`}}, auth.MalformedToken},
		{"scope says more than scopes", []member{{"scope", `"api:read api:write admin:write"`}}, auth.MalformedToken},
		{"scope is empty, scopes are not", []member{{"scope", `""`}}, auth.MalformedToken},
		{"bound to another kind of key", []member{{"cnf", `{"jkt":"` + x5t + `"}`}}, auth.MalformedToken},
		{"binding empty", []member{{"cnf", `{"x5t#S256":""}`}}, auth.MalformedToken},
		{"binding of wrong length", []member{{"cnf", `{"x5t#S256":"AAAA"}`}}, auth.MalformedToken},
		{"duplicate in cnf", []member{{"cnf", `{"x5t#S256":"` + x5t + `","x5t#S256":"` + x5t + `"}`}}, auth.MalformedToken},
		{"duplicate deep inside", []member{{"x", `[{"y":{"a":1,"a":1}}]`}}, auth.MalformedToken},
		{"lone surrogate", []member{{"x", `"\ud800"`}}, auth.MalformedToken},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			payload := base
			for _, m := range tc.change {
				payload = with(t, payload, m)
			}
			got, err := v.Verify(t.Context(), a.Raw(t, a.Header(), payload))
			checkReason(t, err, tc.want)
			if err != nil && got != (token.Claims{}) {
				t.Errorf("a refused token yields claims: %+v", got)
			}
		})
	}
}

// with changes a member textually where the value would not survive a decoder (authtest.With compacts
// raw values and refuses none of ours, so it does for all).
func with(t *testing.T, object string, m member) string {
	t.Helper()
	return authtest.With(t, object, m.name, m.value)
}

func TestVerifyPayloadForm(t *testing.T) {
	t.Parallel()
	a := authtest.NewAuthority(t, token.EdDSA)
	v := a.Verifier(t)
	base := a.ClaimsJSON(t, gatewayClaims())
	inner := strings.TrimSuffix(base, "}")
	for name, payload := range map[string]string{
		"duplicate exp":           inner + `,"exp":99999999999}`,
		"duplicate by escape":     inner + `,"\u0065xp":1}`,
		"duplicate unknown":       inner + `,"x":1,"x":1}`,
		"empty":                   "",
		"null":                    "null",
		"array":                   "[" + base + "]",
		"text":                    `"x"`,
		"two objects":             base + base,
		"trailing text":           base + "x",
		"byte order mark":         "\ufeff" + base,
		"invalid UTF-8":           inner + ",\"x\":\"\xff\"}",
		"invalid UTF-8 in a name": inner + ",\"\xff\":1}",
		"comment":                 inner + "/**/}",
		"trailing comma":          inner + ",}",
		"cut off":                 inner,
		"nul":                     base + "\x00",
		"deep":                    inner + `,"x":` + strings.Repeat("[", 3000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := v.Verify(t.Context(), a.Raw(t, a.Header(), payload))
			checkReason(t, err, auth.MalformedToken)
		})
	}
	// White space around the object is JSON, and nested values are no one's business but the parser's.
	for name, payload := range map[string]string{
		"white space": " \n" + base + "\t ",
		"deep":        inner + `,"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + "}",
	} {
		t.Run("sound "+name, func(t *testing.T) {
			t.Parallel()
			_, err := v.Verify(t.Context(), a.Raw(t, a.Header(), payload))
			checkReason(t, err, "")
		})
	}
}

func TestVerifyHeader(t *testing.T) {
	t.Parallel()
	a := authtest.NewAuthority(t, token.ES256)
	other := authtest.NewAuthority(t, token.EdDSA)
	v := a.Verifier(t, other)
	payload := a.ClaimsJSON(t, gatewayClaims())
	inner := strings.TrimSuffix(a.Header(), "}")
	otherKid := other.Signer.Public().ID

	tests := []struct {
		name   string
		header string
		want   auth.Reason
	}{
		{"unchanged", a.Header(), ""},
		{"type in capitals", authtest.With(t, a.Header(), "typ", `"AT+JWT"`), ""},
		{"type with application", authtest.With(t, a.Header(), "typ", `"Application/at+jwt"`), ""},
		{"key in the header is not followed", inner + `,"jwk":{"kty":"oct","k":"AA"},"jku":"http://127.0.0.1:1/","x5u":"http://127.0.0.1:1/","x5c":["AA"]}`, ""},
		{"unknown member", inner + `,"x":{"y":[1]}}`, ""},

		{"type missing", authtest.With(t, a.Header(), "typ", ""), auth.MalformedToken},
		{"type JWT", authtest.With(t, a.Header(), "typ", `"JWT"`), auth.MalformedToken},
		{"type with space", authtest.With(t, a.Header(), "typ", `"at+jwt "`), auth.MalformedToken},
		{"type application alone", authtest.With(t, a.Header(), "typ", `"application/"`), auth.MalformedToken},
		{"type twice application", authtest.With(t, a.Header(), "typ", `"application/application/at+jwt"`), auth.MalformedToken},
		{"type null", authtest.With(t, a.Header(), "typ", "null"), auth.MalformedToken},
		{"crit", inner + `,"crit":["exp"]}`, auth.MalformedToken},
		{"crit empty", inner + `,"crit":[]}`, auth.MalformedToken},
		{"crit null", inner + `,"crit":null}`, auth.MalformedToken},
		{"b64 false", inner + `,"b64":false}`, auth.MalformedToken},
		{"b64 true", inner + `,"b64":true}`, auth.MalformedToken},
		{"kid missing", authtest.With(t, a.Header(), "kid", ""), auth.MalformedToken},
		{"kid empty", authtest.With(t, a.Header(), "kid", `""`), auth.MalformedToken},
		{"kid number", authtest.With(t, a.Header(), "kid", "1"), auth.MalformedToken},
		{"kid null", authtest.With(t, a.Header(), "kid", "null"), auth.MalformedToken},
		{"alg missing", authtest.With(t, a.Header(), "alg", ""), auth.MalformedToken},
		{"alg null", authtest.With(t, a.Header(), "alg", "null"), auth.MalformedToken},
		{"alg array", authtest.With(t, a.Header(), "alg", `["ES256"]`), auth.MalformedToken},
		{"duplicate alg", `{"alg":"none",` + a.Header()[1:], auth.MalformedToken},
		{"duplicate kid", inner + `,"kid":"` + otherKid + `"}`, auth.MalformedToken},
		{"duplicate by escape", inner + `,"\u006bid":"x"}`, auth.MalformedToken},
		{"duplicate deep inside", inner + `,"x":{"a":1,"a":2}}`, auth.MalformedToken},
		{"not an object", `"ES256"`, auth.MalformedToken},
		{"array", `[` + a.Header() + `]`, auth.MalformedToken},
		{"null", `null`, auth.MalformedToken},
		{"empty", ``, auth.MalformedToken},
		{"invalid UTF-8", inner + ",\"x\":\"\xc3\"}", auth.MalformedToken},
		{"trailing text", a.Header() + "x", auth.MalformedToken},

		{"kid of nobody", authtest.With(t, a.Header(), "kid", `"nobody"`), auth.UnknownKey},
		{"kid in another case", strings.Replace(a.Header(), a.Signer.Public().ID, strings.ToUpper(a.Signer.Public().ID), 1), auth.UnknownKey},
		{"kid is a path", authtest.With(t, a.Header(), "kid", `"../../dev/null"`), auth.UnknownKey},
		{"kid with nul", authtest.With(t, a.Header(), "kid", `"a\u0000b"`), auth.UnknownKey},
		{"kid too long", authtest.With(t, a.Header(), "kid", `"`+strings.Repeat("k", 1000)+`"`), auth.UnknownKey},

		{"alg of another key", authtest.With(t, a.Header(), "alg", `"EdDSA"`), auth.BadSignature},
		{"kid of another key", authtest.With(t, a.Header(), "kid", `"`+otherKid+`"`), auth.BadSignature},
		{"kid and alg of another key", authtest.With(t, authtest.With(t, a.Header(), "kid", `"`+otherKid+`"`), "alg", `"EdDSA"`), auth.BadSignature},
	}
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "ES384", "ES512", "ES256K", "PS256", "RS512", "es256", "ES256 ", "Ed25519"} {
		tests = append(tests, struct {
			name   string
			header string
			want   auth.Reason
		}{"alg " + alg, authtest.With(t, a.Header(), "alg", `"`+alg+`"`), auth.BadSignature})
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := v.Verify(t.Context(), a.Raw(t, tc.header, payload))
			checkReason(t, err, tc.want)
		})
	}
}

func TestVerifyAlgorithmConfusion(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{token.ES256, token.EdDSA, token.RS256} {
		a := authtest.NewAuthority(t, alg)
		v := a.Verifier(t)
		payload := a.ClaimsJSON(t, gatewayClaims())
		secrets := map[string][]byte{"PEM": a.PublicPEM(t), "empty": {}, "nul": {0}}
		for name, secret := range secrets {
			for _, hs := range []string{"HS256", "HS384", "HS512"} {
				header := authtest.With(t, a.Header(), "alg", `"`+hs+`"`)
				_, err := v.Verify(t.Context(), authtest.HMAC(t, hs, secret, header, payload))
				if auth.ReasonOf(err) != auth.BadSignature {
					t.Errorf("%s key as %s secret of %s: %v", alg, name, hs, err)
				}
				// The same MAC under the key's own algorithm.
				_, err = v.Verify(t.Context(), authtest.HMAC(t, hs, secret, a.Header(), payload))
				if auth.ReasonOf(err) != auth.BadSignature {
					t.Errorf("%s MAC by %s as %s signature: %v", hs, name, alg, err)
				}
			}
		}
		for name, header := range map[string]string{
			"none":             authtest.With(t, a.Header(), "alg", `"none"`),
			"none without kid": `{"alg":"none","typ":"JWT"}`,
			"stripped":         a.Header(),
		} {
			_, err := v.Verify(t.Context(), authtest.Unsigned(header, payload))
			if auth.ReasonOf(err) != auth.BadSignature {
				t.Errorf("%s %s: %v", alg, name, err)
			}
		}
	}
}

func TestVerifyCompactForm(t *testing.T) {
	t.Parallel()
	a := authtest.NewAuthority(t, token.ES256)
	v := a.Verifier(t)
	raw := a.Token(t, gatewayClaims())
	seg := strings.Split(raw, ".")
	payload := a.ClaimsJSON(t, gatewayClaims())
	join := func(s ...string) string { return strings.Join(s, ".") }
	// A payload of a length that leaves spare bits in its last character, and one that sets them.
	odd := base64.RawURLEncoding.EncodeToString([]byte(payload + strings.Repeat(" ", (4-len(payload)%3)%3)))
	if len(odd)%4 != 2 {
		t.Fatalf("the payload's length %d leaves no spare bits", len(odd))
	}
	signedOdd := a.Raw(t, a.Header(), payload+strings.Repeat(" ", (4-len(payload)%3)%3))
	spare := strings.Replace(signedOdd, odd, odd[:len(odd)-1]+string(next(odd[len(odd)-1])), 1)

	size := func(n int) string { // a genuine token of exactly n bytes, or nearly
		for pad := n * 3 / 4; ; pad-- {
			long := a.Raw(t, a.Header(), authtest.With(t, payload, "x", `"`+strings.Repeat("x", pad)+`"`))
			if len(long) <= n {
				return long
			}
		}
	}
	fits := size(token.MaxSize)

	tests := []struct {
		name, raw string
		want      auth.Reason
	}{
		{"unchanged", raw, ""},
		{"with spare bits clear", signedOdd, ""},
		{"nearly 8 KiB", fits, ""},
		{"9 KiB", size(9 << 10), auth.MalformedToken},
		{"a mebibyte", strings.Repeat("a", 1<<20), auth.MalformedToken},
		{"empty", "", auth.MalformedToken},
		{"dots", "..", auth.MalformedToken},
		{"one segment", seg[0], auth.MalformedToken},
		{"two segments", join(seg[0], seg[1]), auth.MalformedToken},
		{"four segments", join(seg[0], seg[1], seg[2], ""), auth.MalformedToken},
		{"five segments", join(seg[0], seg[1], seg[2], seg[1], seg[2]), auth.MalformedToken},
		{"leading dot", "." + raw, auth.MalformedToken},
		{"trailing dots", raw + "..", auth.MalformedToken},
		{"leading space", " " + raw, auth.MalformedToken},
		{"trailing space", raw + " ", auth.MalformedToken},
		{"trailing newline", raw + "\n", auth.MalformedToken},
		{"trailing CRLF", raw + "\r\n", auth.MalformedToken},
		{"newline inside the header", seg[0][:4] + "\n" + seg[0][4:] + "." + seg[1] + "." + seg[2], auth.MalformedToken},
		{"newline inside the claims", join(seg[0], seg[1][:4]+"\n"+seg[1][4:], seg[2]), auth.MalformedToken},
		{"carriage return inside the signature", join(seg[0], seg[1], seg[2][:4]+"\r"+seg[2][4:]), auth.MalformedToken},
		{"tab inside", join(seg[0], seg[1], seg[2][:4]+"\t"+seg[2][4:]), auth.MalformedToken},
		{"padded signature", raw + "==", auth.MalformedToken},
		{"padded claims", join(seg[0], seg[1]+"=", seg[2]), auth.MalformedToken},
		{"standard alphabet", join(seg[0], seg[1], "+"+seg[2][1:]), auth.MalformedToken},
		{"spare bits set in the claims", spare, auth.MalformedToken},
		{"spare bits set in the signature", raw[:len(raw)-1] + string(next(raw[len(raw)-1])), auth.MalformedToken},
		{"full-width dot", strings.Replace(raw, ".", "．", 1), auth.MalformedToken},
		{"nul", raw + "\x00", auth.MalformedToken},
		{"Bearer prefix", "Bearer " + raw, auth.MalformedToken},
		{"JSON serialization", `{"protected":"` + seg[0] + `","payload":"` + seg[1] + `","signature":"` + seg[2] + `"}`, auth.MalformedToken},
		{"signature of 63 bytes", join(seg[0], seg[1], base64.RawURLEncoding.EncodeToString(make([]byte, 63))), auth.BadSignature},
		{"signature of 65 bytes", join(seg[0], seg[1], base64.RawURLEncoding.EncodeToString(make([]byte, 65))), auth.BadSignature},
		{"signature of zeros", join(seg[0], seg[1], base64.RawURLEncoding.EncodeToString(make([]byte, 64))), auth.BadSignature},
		{"signature in DER", join(seg[0], seg[1], base64.RawURLEncoding.EncodeToString([]byte("\x30\x06\x02\x01\x01\x02\x01\x01"))), auth.BadSignature},
		{"signature of another token", join(seg[0], seg[1], strings.Split(a.Token(t, gatewayClaims()), ".")[2]), auth.BadSignature},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := v.Verify(t.Context(), tc.raw)
			checkReason(t, err, tc.want)
		})
	}
}

// next returns the character after c in the base64url alphabet, so that the lowest bit changes.
func next(c byte) byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[strings.IndexByte(alphabet, c)^1]
}

func TestVerifySignatureAlone(t *testing.T) {
	t.Parallel()
	a := authtest.NewAuthority(t, token.ES256)
	v := &token.Verifier{Keys: a.Keys(t)} // no clock: no claim is judged
	bare := authtest.With(t, a.Header(), "typ", "")
	tests := []struct {
		name, raw, claims string
		want              auth.Reason
	}{
		{"no claims at all", a.Raw(t, bare, "{}"), "{}", ""},
		{"expired", a.Raw(t, a.Header(), `{"exp":0}`), `{"exp":0}`, ""},
		{"not JSON", a.Raw(t, bare, "Test"), "", ""},
		{"not an object", a.Raw(t, bare, `"x"`), "", ""},
		{"duplicate member", a.Raw(t, bare, `{"a":1,"a":1}`), "", ""},
		{"empty payload", a.Raw(t, bare, ""), "", ""},
		{"crit", a.Raw(t, authtest.With(t, bare, "crit", `["a"]`), "{}"), "", auth.MalformedToken},
		{"none", authtest.Unsigned(authtest.With(t, bare, "alg", `"none"`), "{}"), "", auth.BadSignature},
		{"no kid", a.Raw(t, `{"alg":"ES256"}`, "{}"), "", auth.MalformedToken},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			claims, err := v.VerifySignature(t.Context(), tc.raw)
			checkReason(t, err, tc.want)
			if string(claims) != tc.claims {
				t.Errorf("claims %q, want %q", claims, tc.claims)
			}
		})
	}
}

func TestCheckAudience(t *testing.T) {
	t.Parallel()
	c := gatewayClaims()
	checkReason(t, c.CheckAudience(backend), "")
	for _, want := range []string{"", auth.PlatformAudience, gateway, "Isectech-Backend-Services"} {
		checkReason(t, c.CheckAudience(want), auth.WrongAudience)
	}
	checkReason(t, token.Claims{}.CheckAudience(""), auth.WrongAudience)
}

type brokenKeys struct {
	key token.Key
	err error
}

func (b brokenKeys) Key(context.Context, string) (token.Key, error) { return b.key, b.err }

func TestVerifyWithoutKeys(t *testing.T) {
	t.Parallel()
	a := authtest.NewAuthority(t, token.ES256)
	raw := a.Token(t, gatewayClaims())
	errDown := errors.New("store is down")
	var nobody *token.KeySet

	_, err := (&token.Verifier{Keys: brokenKeys{err: errDown}, Now: authtest.Clock}).Verify(t.Context(), raw)
	if !errors.Is(err, errDown) || auth.ReasonOf(err) != "" {
		t.Errorf("an unavailable key source yields %v", err)
	}
	_, err = (&token.Verifier{Keys: brokenKeys{err: fmt.Errorf("get: %w", token.ErrUnknownKey)}, Now: authtest.Clock}).Verify(t.Context(), raw)
	checkReason(t, err, auth.UnknownKey)
	_, err = (&token.Verifier{Keys: nobody, Now: authtest.Clock}).Verify(t.Context(), raw)
	checkReason(t, err, auth.UnknownKey)

	// A source that hands out a key unfit for its algorithm is broken, not the token.
	_, err = (&token.Verifier{Keys: brokenKeys{key: token.Key{ID: "k", Algorithm: token.ES256}}, Now: authtest.Clock}).Verify(t.Context(), raw)
	if !errors.Is(err, token.ErrInvalidKey) || auth.ReasonOf(err) != "" {
		t.Errorf("a key of no type yields %v", err)
	}
	for _, v := range []*token.Verifier{{}, {Now: authtest.Clock}, {Keys: a.Keys(t)}} {
		if _, err := v.Verify(t.Context(), raw); err == nil || auth.ReasonOf(err) != "" {
			t.Errorf("an incomplete verifier yields %v", err)
		}
	}
}

// countingKeys counts how often the source is asked.
type countingKeys struct{ asked *int }

func (c countingKeys) Key(context.Context, string) (token.Key, error) {
	*c.asked++
	return token.Key{}, token.ErrUnknownKey
}

// A key source that may be far away is asked only for what could be there.
func TestVerifySparesTheSource(t *testing.T) {
	t.Parallel()
	a := authtest.NewAuthority(t, token.EdDSA)
	payload := a.ClaimsJSON(t, gatewayClaims())
	asked := 0
	v := &token.Verifier{Keys: countingKeys{&asked}, Now: authtest.Clock}
	for _, header := range []string{
		authtest.With(t, a.Header(), "kid", `"`+strings.Repeat("k", 129)+`"`),
		authtest.With(t, a.Header(), "kid", `"a\nb"`),
		authtest.With(t, a.Header(), "kid", `"é"`),
		authtest.With(t, a.Header(), "alg", `"none"`),
		authtest.With(t, a.Header(), "crit", `[]`),
	} {
		if _, err := v.Verify(t.Context(), a.Raw(t, header, payload)); auth.ReasonOf(err) == "" || asked != 0 {
			t.Errorf("%s: %v, asked %d times", header, err, asked)
		}
	}
	_, err := v.Verify(t.Context(), a.Token(t, gatewayClaims()))
	checkReason(t, err, auth.UnknownKey)
	if asked != 1 {
		t.Errorf("asked %d times for a sound kid", asked)
	}
}

func TestVerifierSettings(t *testing.T) {
	t.Parallel()
	a := authtest.NewAuthority(t, token.EdDSA)
	c := gatewayClaims()
	raw := a.Token(t, c)
	tests := []struct {
		name   string
		leeway time.Duration
		age    time.Duration // after expiry
		want   auth.Reason
	}{
		{"default", 0, 29 * time.Second, ""},
		{"default, too late", 0, 30 * time.Second, auth.Expired},
		{"none", -1, -time.Nanosecond, ""},
		{"none, too late", -1, 0, auth.Expired},
		{"ten seconds", 10 * time.Second, 10 * time.Second, auth.Expired},
		{"never above the maximum", time.Hour, 30 * time.Second, auth.Expired},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			v := a.Verifier(t)
			v.Leeway = tc.leeway
			v.Now = func() time.Time { return c.ExpiresAt.Add(tc.age) }
			_, err := v.Verify(t.Context(), raw)
			checkReason(t, err, tc.want)
		})
	}
	v := a.Verifier(t)
	v.Issuer = "https://local.isectech.com"
	_, err := v.Verify(t.Context(), raw)
	checkReason(t, err, auth.WrongIssuer)
}

func checkReason(t *testing.T, err error, want auth.Reason) {
	t.Helper()
	if got := auth.ReasonOf(err); got != want || (want == "" && err != nil) {
		t.Errorf("error %v, want reason %q", err, want)
	}
}
