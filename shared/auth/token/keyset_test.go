package token_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/token"
)

func jwkOf(t *testing.T, k token.Key) string {
	t.Helper()
	out, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestKeySetRoundTrip(t *testing.T) {
	t.Parallel()
	a, b, c := authtest.NewAuthority(t, token.ES256), authtest.NewAuthority(t, token.EdDSA), authtest.NewAuthority(t, token.RS256)
	set := a.Keys(t, b, c)
	out, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	back, err := token.ParseJWKS(out)
	if err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if diff := cmp.Diff(set.Keys(), back.Keys()); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	for _, x := range []*authtest.Authority{a, b, c} {
		v := &token.Verifier{Keys: back, Now: authtest.Clock}
		if _, err := v.Verify(t.Context(), x.Token(t, gatewayClaims())); err != nil {
			t.Errorf("%s: %v", x.Signer.Public().Algorithm, err)
		}
		one, err := token.ParseJWK([]byte(jwkOf(t, x.Signer.Public())))
		if err != nil {
			t.Errorf("ParseJWK: %v", err)
		}
		if diff := cmp.Diff(x.Signer.Public(), one); diff != "" {
			t.Errorf("key (-want +got):\n%s", diff)
		}
	}
	var members struct{ Keys []map[string]string }
	if err := json.Unmarshal(out, &members); err != nil {
		t.Fatal(err)
	}
	for _, k := range members.Keys {
		if k["use"] != "sig" || k["alg"] == "" || k["kid"] == "" || k["d"] != "" {
			t.Errorf("key %v", k)
		}
	}
}

func TestEmptyKeySet(t *testing.T) {
	t.Parallel()
	var none *token.KeySet
	empty, err := token.NewKeySet()
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range []*token.KeySet{none, empty} {
		if len(set.Keys()) != 0 {
			t.Errorf("keys %v", set.Keys())
		}
		out, err := set.MarshalJSON()
		if err != nil || string(out) != `{"keys":[]}` {
			t.Errorf("%s, %v", out, err)
		}
		if _, err := set.Key(t.Context(), ""); !errors.Is(err, token.ErrUnknownKey) {
			t.Errorf("error %v", err)
		}
	}
}

// The examples of RFC 7638 §3.1 and RFC 8037 §A.3.
func TestThumbprint(t *testing.T) {
	t.Parallel()
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	for want, jwk := range map[string]string{
		"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs": `{"kty":"RSA","n":"` + n + `","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`,
		"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k": `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"EdDSA","kid":"k"}`,
	} {
		k, err := token.ParseJWK([]byte(jwk))
		if err != nil {
			t.Fatal(err)
		}
		got, err := token.Thumbprint(k.Public)
		if err != nil || got != want {
			t.Errorf("thumbprint %q, %v, want %q", got, err, want)
		}
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []any{nil, "x", (*ecdsa.PublicKey)(nil), (*rsa.PublicKey)(nil), ed25519.PublicKey{1}, p384.Public()} {
		if _, err := token.Thumbprint(key); !errors.Is(err, token.ErrInvalidKey) {
			t.Errorf("%T: %v", key, err)
		}
	}
}

func TestParseJWKS(t *testing.T) {
	t.Parallel()
	ec := jwkOf(t, authtest.NewAuthority(t, token.ES256).Signer.Public())
	ed := jwkOf(t, authtest.NewAuthority(t, token.EdDSA).Signer.Public())
	rs := jwkOf(t, authtest.NewAuthority(t, token.RS256).Signer.Public())
	change := func(jwk, name, value string) string { return authtest.With(t, jwk, name, value) }
	one := func(jwks ...string) string { return `{"keys":[` + strings.Join(jwks, ",") + `]}` }
	b64 := func(size int, last byte) string {
		b := make([]byte, size)
		b[0], b[size-1] = 0x80, last
		return `"` + base64.RawURLEncoding.EncodeToString(b) + `"`
	}
	var member struct{ X, N string }
	if err := json.Unmarshal([]byte(ec), &member); err != nil {
		t.Fatal(err)
	}
	x := member.X

	tests := []struct {
		name, set string
		keys      int // -1: refused
	}{
		{"all kinds", one(ec, ed, rs), 3},
		{"none", one(), 0},
		{"unknown member of the set", `{"x":1,"keys":[` + ec + `]}`, 1},
		{"unknown members of a key", one(change(ec, "x5c", `["AA"]`)), 1},
		{"key_ops verify", one(change(ec, "key_ops", `["verify"]`)), 1},
		{"no use", one(change(ec, "use", "")), 1},

		{"foreign: symmetric", one(ec, `{"kty":"oct","kid":"s","alg":"HS256","k":"AAAA"}`), 1},
		{"foreign: P-384", one(ec, `{"kty":"EC","crv":"P-384","kid":"s","alg":"ES384","x":"AA","y":"AA"}`), 1},
		{"foreign: X25519", one(ec, `{"kty":"OKP","crv":"X25519","kid":"s","x":"AA"}`), 1},
		{"foreign: kty", one(ec, `{"kty":"AKP","kid":"s"}`), 1},
		{"foreign: no kty", one(ec, `{"kid":"s"}`), 1},
		{"foreign: for encryption", one(ec, change(rs, "use", `"enc"`)), 1},
		{"foreign: to sign with", one(ec, change(rs, "key_ops", `["sign"]`)), 1},
		{"foreign: no operations", one(ec, change(rs, "key_ops", `[]`)), 1},
		{"foreign: PS256", one(ec, change(rs, "alg", `"PS256"`)), 1},
		{"foreign: alg missing", one(ec, change(rs, "alg", ``)), 1},
		{"foreign: alg in lower case", one(ed, change(ec, "alg", `"es256"`)), 1},
		{"foreign: RSA of 1024 bits", one(ec, change(rs, "n", b64(128, 1))), 1},
		{"foreign: RSA of 2047 bits", one(ec, change(rs, "n", strings.Replace(b64(256, 1), `"gA`, `"fA`, 1))), 1},
		{"RSA of 2048 bits", one(ec, change(rs, "n", b64(256, 1))), 2},
		{"RSA of 8192 bits", one(ec, change(rs, "n", b64(1024, 1))), 2},
		{"foreign: RSA of 8200 bits", one(ec, change(rs, "n", b64(1025, 1))), 1},
		{"foreign: even modulus", one(ec, change(rs, "n", b64(256, 2))), 1},
		{"foreign: exponent 3", one(ec, change(rs, "e", `"Aw"`)), 1},
		{"foreign: even exponent", one(ec, change(rs, "e", `"AQAC"`)), 1},
		{"foreign: exponent of 5 bytes", one(ec, change(rs, "e", `"AQAAAAE"`)), 1},

		{"not an object", `[` + ec + `]`, -1},
		{"null", `null`, -1},
		{"empty", ``, -1},
		{"a bare key", ec, -1},
		{"keys null", `{"keys":null}`, -1},
		{"keys an object", `{"keys":{}}`, -1},
		{"key null", one("null"), 0},
		{"key text", one(`"x"`), -1},
		{"trailing text", one(ec) + "x", -1},
		{"duplicate keys", `{"keys":[],"keys":[` + ec + `]}`, -1},
		{"duplicate member", one(ec[:len(ec)-1] + `,"kid":"x"}`), -1},
		{"duplicate kid", one(ec, ec), -1},
		{"duplicate kid, one foreign", one(ec, `{"kty":"oct","k":"AA","kid":`+kidOf(t, ec)+`}`), -1},
		{"duplicate kid of two kinds", one(ec, change(ed, "kid", kidOf(t, ec))), -1},
		{"kid missing", one(change(ec, "kid", "")), -1},
		{"kid empty", one(change(ec, "kid", `""`)), -1},
		{"kid with newline", one(change(ec, "kid", `"a\nb"`)), -1},
		{"kid too long", one(change(ec, "kid", `"`+strings.Repeat("k", 129)+`"`)), -1},
		{"kid a number", one(change(ec, "kid", `1`)), -1},
		{"alg of another kind", one(change(ec, "alg", `"RS256"`)), -1},
		{"alg of another curve", one(change(ed, "alg", `"ES256"`)), -1},
		{"private EC", one(change(ec, "d", `"AA"`)), -1},
		{"private member null", one(change(ec, "d", `null`)), -1},
		{"private RSA", one(change(rs, "p", `"AA"`)), -1},
		{"private RSA of many primes", one(change(rs, "oth", `[]`)), -1},
		{"secret in an EC key", one(change(ec, "k", `"AA"`)), -1},
		{"private key of a foreign curve", one(`{"kty":"EC","crv":"P-384","kid":"s","d":"AA"}`), -1},
		{"off the curve", one(change(ec, "y", `"`+x+`"`)), -1},
		{"point at infinity", one(change(change(ec, "x", `"`+strings.Repeat("A", 43)+`"`), "y", `"`+strings.Repeat("A", 43)+`"`)), -1},
		{"short coordinate", one(change(ec, "x", `"AAAA"`)), -1},
		{"long coordinate", one(change(ec, "x", `"AAAA`+x+`"`)), -1},
		{"no coordinate", one(change(ec, "y", ``)), -1},
		{"padded coordinate", one(change(ec, "x", `"`+x+`="`)), -1},
		{"coordinate with newline", one(change(ec, "x", `"`+x[:4]+`\n`+x[4:]+`"`)), -1},
		{"coordinate with spare bits", one(change(ec, "x", `"`+x[:42]+string(next(x[42]))+`"`)), -1},
		{"short Ed25519", one(change(ed, "x", `"AAAA"`)), -1},
		{"modulus missing", one(change(rs, "n", "")), -1},
		{"modulus with leading zero", one(change(rs, "n", `"AAAA"`)), -1},
		{"exponent with leading zero", one(change(rs, "e", `"AAEAAQ"`)), -1},
		{"invalid UTF-8", "{\"keys\":[],\"x\":\"\xff\"}", -1},
		{"too long", `{"keys":[]}` + strings.Repeat(" ", 1<<20), -1},
		{"too many", one(strings.Repeat(`{},`, 1000) + `{}`), -1},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			set, err := token.ParseJWKS([]byte(tc.set))
			if tc.keys < 0 {
				if !errors.Is(err, token.ErrInvalidKey) {
					t.Errorf("error %v, want ErrInvalidKey", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := len(set.Keys()); got != tc.keys {
				t.Errorf("%d keys, want %d", got, tc.keys)
			}
		})
	}
}

func kidOf(t *testing.T, jwk string) string {
	t.Helper()
	var k struct{ Kid json.RawMessage }
	if err := json.Unmarshal([]byte(jwk), &k); err != nil {
		t.Fatal(err)
	}
	return string(k.Kid)
}

func TestParseJWKRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "null", "[]", "{}", `{"kty":"oct","k":"AA","kid":"k","alg":"HS256"}`, strings.Repeat(" ", 1<<20+1)} {
		if k, err := token.ParseJWK([]byte(s)); err == nil {
			t.Errorf("%.40q is key %v", s, k)
		}
	}
}

func TestNewKeySetRefuses(t *testing.T) {
	t.Parallel()
	good := authtest.NewAuthority(t, token.ES256).Signer.Public()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 1023, 1), E: 65537}
	many := make([]token.Key, 1001)
	for i := range many {
		many[i] = good
		many[i].ID = fmt.Sprint(i)
	}
	for name, keys := range map[string][]token.Key{
		"twice":           {good, good},
		"no id":           {{Algorithm: token.ES256, Public: good.Public}},
		"no algorithm":    {{ID: "k", Public: good.Public}},
		"other algorithm": {{ID: "k", Algorithm: token.RS256, Public: good.Public}},
		"symmetric":       {{ID: "k", Algorithm: "HS256", Public: []byte("secret")}},
		"private":         {{ID: "k", Algorithm: token.ES256, Public: p384}},
		"P-384":           {{ID: "k", Algorithm: token.ES256, Public: p384.Public()}},
		"nil":             {{ID: "k", Algorithm: token.ES256}},
		"typed nil":       {{ID: "k", Algorithm: token.ES256, Public: (*ecdsa.PublicKey)(nil)}},
		"zero point":      {{ID: "k", Algorithm: token.ES256, Public: &ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int), Y: new(big.Int)}}}, //nolint:staticcheck // an impossible point has no other way in
		"short Ed25519":   {{ID: "k", Algorithm: token.EdDSA, Public: ed25519.PublicKey{1}}},
		"small RSA":       {{ID: "k", Algorithm: token.RS256, Public: small}},
		"empty RSA":       {{ID: "k", Algorithm: token.RS256, Public: &rsa.PublicKey{}}},
		"too many":        many,
	} {
		if _, err := token.NewKeySet(keys...); !errors.Is(err, token.ErrInvalidKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
