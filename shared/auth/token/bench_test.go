package token_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/token"
)

// BenchmarkVerifyES256 is to be read beside BenchmarkBareES256: what all judgement of a token costs
// above the signature.
func BenchmarkVerifyES256(b *testing.B) {
	a := authtest.NewAuthority(b, token.ES256)
	v := a.Verifier(b)
	raw := a.Token(b, gatewayClaims())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(b.Context(), raw); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareES256 is SHA-256 and ECDSA over the same token and nothing else.
func BenchmarkBareES256(b *testing.B) {
	a := authtest.NewAuthority(b, token.ES256)
	raw := a.Token(b, gatewayClaims())
	i := strings.LastIndexByte(raw, '.')
	sig, err := base64.RawURLEncoding.DecodeString(raw[i+1:])
	if err != nil {
		b.Fatal(err)
	}
	r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
	pub := a.Key.Public().(*ecdsa.PublicKey)
	b.ReportAllocs()
	for b.Loop() {
		sum := sha256.Sum256([]byte(raw[:i]))
		if !ecdsa.Verify(pub, sum[:], r, s) {
			b.Fatal("signature does not verify")
		}
	}
}

func BenchmarkSignES256(b *testing.B) {
	a := authtest.NewAuthority(b, token.ES256)
	c := gatewayClaims()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Signer.Sign(c); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerifySeen is to be read beside BenchmarkBareLookup: what all judgement of a token costs that has
// been verified before.
func BenchmarkVerifySeen(b *testing.B) {
	a := authtest.NewAuthority(b, token.ES256)
	v := a.Verifier(b)
	v.Now, v.Cache = time.Now, token.NewCache(1<<15)
	raws := seenTokens(b, a)
	for _, raw := range raws {
		if _, err := v.Verify(b.Context(), raw); err != nil {
			b.Fatal(err)
		}
	}
	ctx := b.Context()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := v.Verify(ctx, raws[i%len(raws)]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareLookup is one lookup in a map by the same tokens.
func BenchmarkBareLookup(b *testing.B) {
	raws := seenTokens(b, authtest.NewAuthority(b, token.ES256))
	known := make(map[string]int, len(raws))
	for i, raw := range raws {
		known[strings.Clone(raw)] = i
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, ok := known[raws[i%len(raws)]]; !ok {
			b.Fatal("not there")
		}
	}
}

func seenTokens(b *testing.B, a *authtest.Authority) []string {
	b.Helper()
	raws := make([]string, 1000)
	for i := range raws {
		c := gatewayClaims()
		c.ID, c.IssuedAt, c.NotBefore = token.NewID(), time.Now(), time.Time{}
		c.ExpiresAt = c.IssuedAt.Add(token.MaxLifetime)
		raws[i] = a.Token(b, c)
	}
	return raws
}
