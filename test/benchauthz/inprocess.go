package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store/boltstore"
	"github.com/isectech/service-networking/test/figure"
)

// inProcess measures decisions without a server around them: of tokens that have been seen before, beside one
// lookup in a map by the same tokens, and of new ones, beside the bare verification of their signature.
func (b *bench) inProcess(ctx context.Context) (figures []figure.Figure, err error) {
	db, err := boltstore.Open(filepath.Join(b.work, "platform.db"), boltstore.Options{Now: time.Now})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	source := trust.NewSource(db, time.Now)
	raws, err := b.mint(1000)
	if err != nil {
		return nil, err
	}
	known := make(map[string]int, len(raws))
	for i, raw := range raws {
		known[strings.Clone(raw)] = i
	}
	public, ok := b.signer.Public().Public.(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("the platform signs with no ECDSA key")
	}
	seen := &decider{source: source, verifier: &token.Verifier{Keys: source, Now: time.Now, Cache: token.NewCache(1 << 15)}}
	fresh := &decider{source: source, verifier: &token.Verifier{Keys: source, Now: time.Now}}
	for _, raw := range raws {
		seen.decide(ctx, raw)
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{token.ES256}), jwt.WithExpirationRequired())
	subjects := []func(raw string) bool{
		func(raw string) bool { _, ok := known[raw]; return ok },
		func(raw string) bool { return seen.decide(ctx, raw) },
		func(raw string) bool { return bareES256(public, raw) },
		func(raw string) bool { return fresh.decide(ctx, raw) },
		func(raw string) bool {
			_, err := parser.Parse(raw, func(*jwt.Token) (any, error) { return public, nil })
			return err == nil
		},
	}
	times := make([][]float64, len(subjects))
	for range warmups + b.rounds {
		for i, decide := range subjects {
			failed := false
			result := testing.Benchmark(func(tb *testing.B) {
				for n := 0; tb.Loop(); n++ {
					failed = failed || !decide(raws[n%len(raws)])
				}
			})
			if failed {
				return nil, errors.New("in process: a token was refused")
			}
			if i == 1 && result.AllocsPerOp() != 0 {
				return nil, errors.New("in process: a decision about a token seen before allocates")
			}
			times[i] = append(times[i], float64(result.T.Nanoseconds())/float64(result.N))
		}
	}
	for i := range times {
		times[i] = times[i][warmups:]
	}
	return []figure.Figure{
		figure.Summarize("inprocess-lookup", "ns/op", times[0]),
		figure.Summarize("inprocess-decision-seen", "ns/op", times[1]),
		figure.Compare("inprocess-decision-seen-to-lookup", times[1], times[0]),
		figure.Summarize("inprocess-es256", "ns/op", times[2]),
		figure.Compare("inprocess-decision-new-to-es256", times[3], times[2]),
		figure.Compare("inprocess-golang-jwt-to-es256", times[4], times[2]),
	}, nil
}

// decider makes a whole decision about a token: all that is judged of it but the rate.
type decider struct {
	source   *trust.Source
	verifier *token.Verifier
}

var targetSubject = auth.MustSubject(target)

func (d *decider) decide(ctx context.Context, raw string) bool {
	claims, err := d.verifier.Verify(ctx, raw)
	if err != nil {
		return false
	}
	st, err := d.source.State(ctx)
	if err != nil {
		return false
	}
	p := authn.PrincipalOf(claims)
	return st.Policy.Decide(policy.Question{
		Caller: p.Subject, Environment: p.Environment, Target: targetSubject, Audience: p.Audience,
		Held: p.Scopes, Required: auth.APIRead,
		Revoked: st.Revoked(p), Quarantined: st.Quarantined(p.Subject) || st.Quarantined(targetSubject),
	}).Allow
}

// bareES256 is SHA-256 and ECDSA over a token and nothing else.
func bareES256(key *ecdsa.PublicKey, raw string) bool {
	i := strings.LastIndexByte(raw, '.')
	sig, err := base64.RawURLEncoding.DecodeString(raw[i+1:])
	if err != nil || len(sig) != 64 {
		return false
	}
	sum := sha256.Sum256([]byte(raw[:i]))
	return ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
}
