package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"path/filepath"
	"strings"
	"syscall"
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
	measured := []struct {
		times  int // a turn
		decide func(raw string) bool
	}{
		{200_000, func(raw string) bool { _, ok := known[raw]; return ok }},
		{100_000, func(raw string) bool { return seen.decide(ctx, raw) }},
		{300, func(raw string) bool { return bareES256(public, raw) }},
		{300, func(raw string) bool { return fresh.decide(ctx, raw) }},
		{300, func(raw string) bool {
			_, err := parser.Parse(raw, func(*jwt.Token) (any, error) { return public, nil })
			return err == nil
		}},
	}
	if n := testing.AllocsPerRun(len(raws), func() { seen.decide(ctx, raws[0]) }); n != 0 {
		return nil, fmt.Errorf("in process: a decision about a token seen before allocates %v times", n)
	}
	costs := make([][]float64, len(measured))
	for round := range warmups + b.rounds {
		for i, m := range measured {
			ns, err := costOf(m.times, raws, m.decide)
			if err != nil {
				return nil, err
			}
			if round >= warmups {
				costs[i] = append(costs[i], ns)
			}
		}
	}
	return []figure.Figure{
		figure.Summarize("inprocess-lookup", "ns/op", costs[0]),
		figure.Summarize("inprocess-decision-seen", "ns/op", costs[1]),
		figure.Compare("inprocess-decision-seen-to-lookup", costs[1], costs[0]),
		figure.Summarize("inprocess-es256", "ns/op", costs[2]),
		figure.Compare("inprocess-decision-new-to-es256", costs[3], costs[2]),
		figure.Compare("inprocess-golang-jwt-to-es256", costs[4], costs[2]),
	}, nil
}

// costOf returns the processor time in nanoseconds that one of so many decisions takes.
func costOf(times int, raws []string, decide func(raw string) bool) (float64, error) {
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		return 0, err
	}
	refused := 0
	for i := range times {
		if !decide(raws[i%len(raws)]) {
			refused++
		}
	}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		return 0, err
	}
	if refused > 0 {
		return 0, fmt.Errorf("in process: %d of %d decisions are denials", refused, times)
	}
	spent := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	return float64(spent) / float64(times), nil
}

// decider makes a whole decision about a token: all that is judged of it but the rate.
type decider struct {
	source   *trust.Source
	verifier *token.Verifier
}

var targetSubject = auth.MustSubject(target)

func (d *decider) decide(ctx context.Context, raw string) bool {
	now := d.source.Now()
	st, err := d.source.StateAt(ctx, now)
	if err != nil {
		return false
	}
	claims, err := d.verifier.VerifyAt(ctx, raw, token.Moment{Now: now, Keys: st.Keys})
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
