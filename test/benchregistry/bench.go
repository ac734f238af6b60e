package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/isectech/service-networking/test/figure"
	"github.com/isectech/service-networking/test/load"
)

// sizes are the numbers of services that servers are measured with.
var sizes = []int{1_000, 10_000}

// warmups are rounds that nothing is taken from.
const warmups = 1

// mib is a megabyte of memory.
const mib = 1 << 20

// run measures and tells.
func (b *bench) run(ctx context.Context) error {
	figures, err := b.inProcess(ctx)
	if err != nil {
		return err
	}
	if b.http {
		if err := load.Build(ctx, filepath.Join(b.root, "test"), "./benchregistry/serve", b.binary, true); err != nil {
			return err
		}
		for _, services := range sizes {
			found, err := b.overHTTP(ctx, services)
			if err != nil {
				return fmt.Errorf("%d services: %w", services, err)
			}
			figures = append(figures, found...)
		}
	}
	for _, f := range figures {
		if err := f.Write(b.out); err != nil {
			return err
		}
	}
	return nil
}

// asked is a server and what it is asked for, again and again.
type asked struct {
	*load.Server
	requests [][]byte

	rate, cpu []float64 // of its turns
}

func (a *asked) turn(ctx context.Context, b *bench, taken bool) error {
	m, err := a.Turn(ctx, b.turn/8, b.turn, func(i int64) []byte { return a.requests[i%int64(len(a.requests))] })
	if err == nil && taken {
		a.rate, a.cpu = append(a.rate, m.Rate), append(a.cpu, m.CPU)
	}
	return err
}

// overHTTP measures the servers of so many services.
func (b *bench) overHTTP(ctx context.Context, services int) ([]figure.Figure, error) {
	w, err := b.newWorld(ctx, services)
	if err != nil {
		return nil, err
	}
	defer b.close()
	list, bareList := &asked{Server: w.registry, requests: w.lists}, &asked{Server: w.bareList, requests: w.lists}
	resolve, bareResolve := &asked{Server: w.registry, requests: w.resolves}, &asked{Server: w.bareResolve, requests: w.resolves}
	order := []*asked{list, bareList, resolve, bareResolve}
	etcd := &asked{Server: w.etcd, requests: w.ranges}
	if b.etcd {
		order = append(order, etcd)
	}
	for round := range warmups + b.rounds {
		for _, a := range order {
			if err := a.turn(ctx, b, round >= warmups); err != nil {
				return nil, err
			}
		}
		slices.Reverse(order)
	}
	resident, own, err := w.registry.Memory()
	if err != nil {
		return nil, err
	}
	named := func(name string) string { return fmt.Sprintf("%s/%d", name, services) }
	figures := []figure.Figure{
		figure.Summarize(named("discovery-rate"), "requests/s", list.rate),
		figure.Summarize(named("discovery-cpu"), "us/request", list.cpu),
		figure.Compare(named("discovery-rate-to-bare"), list.rate, bareList.rate),
		figure.Compare(named("discovery-cpu-to-bare"), list.cpu, bareList.cpu),
		figure.Summarize(named("resolve-rate"), "requests/s", resolve.rate),
		figure.Summarize(named("resolve-cpu"), "us/request", resolve.cpu),
		figure.Compare(named("resolve-rate-to-bare"), resolve.rate, bareResolve.rate),
		figure.Summarize(named("registry-memory"), "MiB", []float64{float64(resident) / mib}),
		figure.Summarize(named("registry-memory-own"), "MiB", []float64{float64(own) / mib}),
	}
	if !b.etcd {
		return figures, nil
	}
	if resident, _, err = w.etcd.Memory(); err != nil {
		return nil, err
	}
	return append(figures,
		figure.Summarize(named("etcd-rate"), "requests/s", etcd.rate),
		figure.Summarize(named("etcd-cpu"), "us/request", etcd.cpu),
		figure.Summarize(named("etcd-memory"), "MiB", []float64{float64(resident) / mib}),
		figure.Compare(named("discovery-rate-to-etcd"), list.rate, etcd.rate),
		figure.Compare(named("resolve-rate-to-etcd"), resolve.rate, etcd.rate),
	), nil
}
