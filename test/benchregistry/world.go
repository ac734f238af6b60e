package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/isectech/service-networking/test/benchplatform"
	"github.com/isectech/service-networking/test/load"
)

// caller is who asks.
const caller = "isectech-api-gateway"

// callers is how many tokens take turns.
const callers = 64

// world is a number of services and all who know them.
type world struct {
	services int
	dir      string

	registry, bareList, bareResolve, etcd *load.Server

	lists, resolves, ranges [][]byte // a request for each service, in an order that caches do not guess
}

// newWorld makes the servers of so many services and has them agree.
func (b *bench) newWorld(ctx context.Context, services int) (*world, error) {
	w := &world{services: services, dir: filepath.Join(b.work, fmt.Sprint(services))}
	if err := os.Mkdir(w.dir, 0o700); err != nil {
		return nil, err
	}
	signer, err := benchplatform.Make(ctx, w.dir, policyOf(services))
	if err != nil {
		return nil, err
	}
	tokens := make([]string, callers)
	for i := range tokens {
		if tokens[i], err = signer.Sign(benchplatform.Claims(caller, "isectech-services", time.Now())); err != nil {
			return nil, err
		}
	}
	if err := fill(ctx, w.dir, services); err != nil {
		return nil, err
	}
	for i := range services {
		n := int(uint64(i) * 7919 % uint64(services))
		raw, name := tokens[i%callers], serviceName(n)
		w.lists = append(w.lists, get("/internal/registry/services/"+name+"?status=healthy", raw))
		w.resolves = append(w.resolves, get("/internal/registry/services/"+name+"/endpoints/api", raw))
		w.ranges = append(w.ranges, rangeRequest(name))
	}
	if w.registry, err = b.serve(ctx, "register", "-what", "register", "-dir", w.dir); err != nil {
		return nil, err
	}
	if w.bareList, err = b.bare(ctx, w, "list", w.lists[0]); err != nil {
		return nil, err
	}
	if w.bareResolve, err = b.bare(ctx, w, "resolve", w.resolves[0]); err != nil {
		return nil, err
	}
	if b.etcd {
		if w.etcd, err = b.startEtcd(ctx, w.dir); err != nil {
			return nil, err
		}
		if err := fillEtcd(ctx, w.etcd, services); err != nil {
			return nil, err
		}
	}
	return w, b.agree(ctx, w)
}

func get(path, raw string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: registry\r\nAuthorization: Bearer %s\r\n\r\n", path, raw)
}

// bare starts a handler that answers everything with what the registry answers a request with.
func (b *bench) bare(ctx context.Context, w *world, name string, request []byte) (*load.Server, error) {
	status, body, err := w.registry.Once(ctx, request)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("%s: %d: %s", name, status, body)
	}
	file := filepath.Join(w.dir, name+".json")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		return nil, err
	}
	return b.serve(ctx, "bare "+name, "-what", "bare", "-answer", file)
}

// agree wants the right answers from all, about every service.
func (b *bench) agree(ctx context.Context, w *world) error {
	for i := range w.services {
		n := int(uint64(i) * 7919 % uint64(w.services))
		if i > 200 && i%97 != 0 {
			continue // each is a connection
		}
		want := wanted(n)
		if err := right(ctx, w.registry, w.lists[i], parseList, want); err != nil {
			return err
		}
		if b.etcd {
			if err := right(ctx, w.etcd, w.ranges[i], parseRange, want); err != nil {
				return err
			}
		}
		status, body, err := w.registry.Once(ctx, w.resolves[i])
		if err != nil {
			return err
		}
		var chosen struct{ ServiceID, URL string }
		if err := unmarshalSnake(body, &chosen.ServiceID, &chosen.URL); err != nil || want[chosen.ServiceID] != chosen.URL {
			return fmt.Errorf("resolve: %d: %s", status, body)
		}
	}
	status, body, err := w.registry.Once(ctx, get("/internal/registry/services/"+serviceName(0), "nonsense"))
	if err != nil {
		return err
	}
	if status != http.StatusUnauthorized {
		return fmt.Errorf("without a valid token: %d: %s", status, body)
	}
	return nil
}

func unmarshalSnake(body []byte, id, url *string) error {
	var got struct {
		ServiceID string `json:"service_id"`
		URL       string `json:"url"`
	}
	err := json.Unmarshal(body, &got)
	*id, *url = got.ServiceID, got.URL
	if err == nil && got.URL == "" {
		err = errors.New("no url")
	}
	return err
}

func right(ctx context.Context, s *load.Server, request []byte, parse func(int, []byte) (answer, error), want answer) error {
	status, body, err := s.Once(ctx, request)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	got, err := parse(status, body)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("%s: want %v: %s", s.Name, want, body)
	}
	return nil
}

// parseList reads the registry's answer.
func parseList(status int, body []byte) (answer, error) {
	var got struct {
		Services []json.RawMessage `json:"services"`
	}
	if status != http.StatusOK {
		return nil, errors.New(string(body))
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, err
	}
	found := answer{}
	for _, text := range got.Services {
		if err := found.add(text); err != nil {
			return nil, err
		}
	}
	return found, nil
}
