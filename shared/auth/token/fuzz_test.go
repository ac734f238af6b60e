package token_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/token"
)

// FuzzVerify looks for a token that verifies though nobody minted it. The claims are signed as they
// come, so that the fuzzer reaches everything behind the signature too.
func FuzzVerify(f *testing.F) {
	a := authtest.NewAuthority(f, token.EdDSA)
	v := a.Verifier(f)
	claims := a.ClaimsJSON(f, gatewayClaims())
	raw := a.Token(f, gatewayClaims())
	f.Add(raw, claims)
	f.Add(raw+".", claims[:len(claims)-1]+`,"exp":1}`)
	f.Add(strings.Replace(raw, ".", "\n.", 1), "null")
	f.Add(authtest.Unsigned(`{"alg":"none"}`, claims), `{"exp":1e9}`)
	f.Add("..", `{"aud":["a","b"]}`)
	f.Fuzz(func(t *testing.T, text, payload string) {
		if _, err := v.Verify(t.Context(), text); err == nil && text != raw {
			t.Errorf("%q verifies", text)
		} else if err != nil && auth.ReasonOf(err) == "" {
			t.Errorf("%q: %v is no refusal", text, err)
		}
		signed := a.Raw(t, a.Header(), payload)
		got, err := v.Verify(t.Context(), signed)
		if err != nil {
			if auth.ReasonOf(err) == "" {
				t.Errorf("%q: %v is no refusal", payload, err)
			}
			return
		}
		// What was accepted is something that this platform could have said.
		if got.Subject.IsZero() || got.ID == "" || got.Audience == "" || got.Issuer != auth.Issuer ||
			got.ExpiresAt.Sub(got.IssuedAt) > token.MaxLifetime || got.ExpiresAt.Add(token.MaxLeeway).Before(authtest.Now) {
			t.Errorf("%q yields %+v", payload, got)
		}
	})
}

func FuzzParseJWKS(f *testing.F) {
	a := authtest.NewAuthority(f, token.ES256)
	out, err := a.Keys(f, authtest.NewAuthority(f, token.EdDSA)).MarshalJSON()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(out)
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","alg":"RS256","kid":"k"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AA"}]}`))
	f.Add([]byte(`{"keys":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := token.ParseJWKS(data)
		if err != nil {
			return
		}
		again, err := set.MarshalJSON()
		if err != nil {
			t.Fatalf("%q parses and does not encode: %v", data, err)
		}
		back, err := token.ParseJWKS(again)
		if err != nil || len(back.Keys()) != len(set.Keys()) {
			t.Errorf("%q: %d keys come back as %v, %v", data, len(set.Keys()), back, err)
		}
	})
}

func FuzzParsePrivateKey(f *testing.F) {
	key, err := token.GenerateKey(token.ES256)
	if err != nil {
		f.Fatal(err)
	}
	text, err := token.MarshalPrivateKey(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, alg, err := token.ParsePrivateKey(data)
		if err != nil {
			return
		}
		if _, err := token.NewSigner("k", alg, key); err != nil {
			t.Errorf("%q parses and does not sign: %v", data, err)
		}
	})
}

// Whatever is minted verifies, and says the same.
func TestPropertyRoundTrip(t *testing.T) {
	t.Parallel()
	a := authtest.NewAuthority(t, token.EdDSA)
	v := a.Verifier(t)
	rapid.Check(t, func(rt *rapid.T) {
		c := genClaims().Draw(rt, "claims")
		raw, err := a.Signer.Sign(c)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := v.Verify(t.Context(), raw)
		if err != nil {
			rt.Fatal(err)
		}
		c.Issuer, c.KeyID = auth.Issuer, a.Signer.Public().ID
		if got != c {
			rt.Fatalf("minted %+v, read %+v", c, got)
		}
	})
}

// No token with one bit changed verifies, nor one with a character of its alphabet exchanged.
func TestPropertyTampering(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{token.ES256, token.EdDSA, token.RS256} {
		a := authtest.NewAuthority(t, alg)
		v := a.Verifier(t)
		rapid.Check(t, func(rt *rapid.T) {
			raw := a.Token(t, genClaims().Draw(rt, "claims"))
			changed := []byte(raw)
			i := rapid.IntRange(0, len(raw)-1).Draw(rt, "byte")
			if rapid.Bool().Draw(rt, "flip") {
				changed[i] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
			} else {
				const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
				changed[i] = alphabet[rapid.IntRange(0, len(alphabet)-1).Draw(rt, "character")]
			}
			_, err := v.Verify(t.Context(), string(changed))
			if string(changed) != raw && auth.ReasonOf(err) == "" {
				rt.Fatalf("%s with byte %d changed: %v", alg, i, err)
			}
		})
	}
}

func genClaims() *rapid.Generator[token.Claims] {
	return rapid.Custom(func(t *rapid.T) token.Claims {
		iat := authtest.Now.Add(time.Duration(rapid.IntRange(-900, 30).Draw(t, "iat")) * time.Second)
		life := rapid.IntRange(max(1, int(authtest.Now.Sub(iat).Seconds())-29), 900).Draw(t, "life")
		c := token.Claims{
			Audience: auth.PlatformAudience, IssuedAt: iat, NotBefore: iat,
			ExpiresAt: iat.Add(time.Duration(life) * time.Second),
			ID:        token.NewID(),
			Scopes:    auth.Scopes(rapid.Uint8Range(0, uint8(auth.AllScopes)).Draw(t, "scopes")),
		}
		if rapid.Bool().Draw(t, "operator") {
			c.Subject = auth.MustSubject("operator:" + rapid.StringMatching(`[a-z]{1,9}@[a-z]{1,9}\.com`).Draw(t, "mail"))
			return c
		}
		c.Subject = auth.MustSubject(rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,62}`).Draw(t, "service"))
		c.Environment = rapid.SampledFrom(auth.Environments()).Draw(t, "environment")
		c.ServiceID = rapid.StringMatching(`([a-z0-9][a-z0-9-]{0,62})?`).Draw(t, "instance")
		c.Audience = rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,62}`).Draw(t, "audience")
		return c
	})
}
