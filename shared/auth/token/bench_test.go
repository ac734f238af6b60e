package token_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"

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
