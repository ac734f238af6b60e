package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/test/benchplatform"
	"github.com/isectech/service-networking/test/figure"
	"github.com/isectech/service-networking/test/load"
)

// Who calls whom in the benchmark.
const (
	caller   = "isectech-api-gateway"
	target   = "isectech-backend-services"
	stranger = "isectech-frontend" // who may not call target
	required = "api:read"
)

// bench is one run.
type bench struct {
	options
	work   string
	out    io.Writer
	signer *token.Signer

	figures []figure.Figure // so far

	authz, bare, verify, opaPlain, opaCached *subject
	all                                      []*subject
}

func (b *bench) close() {
	for _, s := range b.all {
		s.Stop()
	}
}

// results are what the turns of one kind showed, by subject and in their order.
type results map[*subject]*struct{ rate, cpu []float64 }

func (r results) add(s *subject, m load.Measurement) {
	if r[s] == nil {
		r[s] = &struct{ rate, cpu []float64 }{}
	}
	r[s].rate, r[s].cpu = append(r[s].rate, m.Rate), append(r[s].cpu, m.CPU)
}

// warmups are rounds that nothing is taken from.
const warmups = 1

// run measures and tells.
func (b *bench) run(ctx context.Context) error {
	seen, fresh := results{}, results{}
	for round := range warmups + b.rounds {
		if err := b.seen(ctx, round, seen); err != nil {
			return err
		}
		if err := b.fresh(ctx, round, fresh); err != nil {
			return err
		}
	}
	b.figures = append(b.figures,
		figure.Summarize("authz-seen-rate", "requests/s", seen[b.authz].rate),
		figure.Summarize("authz-seen-cpu", "us/request", seen[b.authz].cpu),
		figure.Summarize("bare-cpu", "us/request", seen[b.bare].cpu),
		figure.Compare("authz-seen-cpu-to-bare", seen[b.authz].cpu, seen[b.bare].cpu),
		figure.Summarize("authz-new-rate", "requests/s", fresh[b.authz].rate),
		figure.Summarize("authz-new-cpu", "us/request", fresh[b.authz].cpu),
		figure.Summarize("bare-verify-cpu", "us/request", fresh[b.verify].cpu),
		figure.Compare("authz-new-cpu-to-bare-verify", fresh[b.authz].cpu, fresh[b.verify].cpu),
	)
	if b.opa {
		b.figures = append(b.figures,
			figure.Summarize("opa-rate", "requests/s", seen[b.opaPlain].rate),
			figure.Summarize("opa-cached-rate", "requests/s", seen[b.opaCached].rate),
			figure.Summarize("opa-new-rate", "requests/s", fresh[b.opaPlain].rate),
			figure.Summarize("opa-cpu", "us/request", seen[b.opaPlain].cpu),
			figure.Summarize("opa-cached-cpu", "us/request", seen[b.opaCached].cpu),
			figure.Summarize("opa-new-cpu", "us/request", fresh[b.opaPlain].cpu),
			figure.Compare("opa-cpu-to-bare", seen[b.opaPlain].cpu, seen[b.bare].cpu),
			figure.Compare("opa-cpu-to-authz-seen", seen[b.opaPlain].cpu, seen[b.authz].cpu),
			figure.Compare("opa-cached-cpu-to-authz-seen", seen[b.opaCached].cpu, seen[b.authz].cpu),
			figure.Compare("opa-cpu-to-authz-new", fresh[b.opaPlain].cpu, fresh[b.authz].cpu),
			figure.Compare("authz-seen-rate-to-opa", seen[b.authz].rate, seen[b.opaPlain].rate),
			figure.Compare("authz-seen-rate-to-opa-cached", seen[b.authz].rate, seen[b.opaCached].rate),
			figure.Compare("authz-new-rate-to-opa", fresh[b.authz].rate, fresh[b.opaPlain].rate),
		)
	}
	for _, f := range b.figures {
		if err := f.Write(b.out); err != nil {
			return err
		}
	}
	return nil
}

// turns lets each of the subjects have its turn, in an order that changes from round to round.
func (b *bench) turns(round int, into results, subjects []*subject, turn func(*subject) (load.Measurement, error)) error {
	order := slices.Clone(subjects)
	if round%2 == 1 {
		slices.Reverse(order)
	}
	for _, s := range order {
		if s == nil {
			continue
		}
		m, err := turn(s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		if round >= warmups {
			into.add(s, m)
		}
	}
	return nil
}

// callers is how many tokens take turns where a token has been seen before.
const callers = 64

// seen has every token asked about again and again.
func (b *bench) seen(ctx context.Context, round int, into results) error {
	tokens, err := b.mint(callers)
	if err != nil {
		return err
	}
	return b.turns(round, into, []*subject{b.bare, b.authz, b.opaPlain, b.opaCached}, func(s *subject) (load.Measurement, error) {
		requests := s.requests(tokens)
		again := func(i int64) []byte { return requests[i%callers] }
		return s.Turn(ctx, b.turn/8, b.turn, again)
	})
}

// fresh has every token asked about once.
func (b *bench) fresh(ctx context.Context, round int, into results) error {
	tokens, err := b.mint(b.tokens)
	if err != nil {
		return err
	}
	return b.turns(round, into, []*subject{b.verify, b.authz, b.opaPlain}, func(s *subject) (load.Measurement, error) {
		requests := s.requests(tokens)
		return s.Turn(ctx, 0, time.Hour, func(i int64) []byte {
			if i >= int64(len(requests)) {
				return nil
			}
			return requests[i]
		})
	})
}

func (s *subject) requests(tokens []string) [][]byte {
	requests := make([][]byte, len(tokens))
	for i, raw := range tokens {
		requests[i] = s.request(raw, target)
	}
	return requests
}

func (b *bench) mint(n int) ([]string, error) {
	tokens := make([]string, n)
	for i := range tokens {
		var err error
		if tokens[i], err = b.signer.Sign(benchplatform.Claims(caller, target, time.Now())); err != nil {
			return nil, err
		}
	}
	return tokens, nil
}
