package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/test/load"
)

// etcdKey is what an instance is found under; those of a service lie between two keys.
func etcdKey(service, id string) string { return "/services/" + service + "/" + id }

// startEtcd starts an etcd of its own on this machine alone.
func (b *bench) startEtcd(ctx context.Context, dir string) (*load.Server, error) {
	binary, err := exec.LookPath("etcd")
	if err != nil {
		return nil, fmt.Errorf("etcd, which Debian has as etcd-server: %w", err)
	}
	clients, err := load.FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	peers, err := load.FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	p, err := load.StartAt(ctx, clients, binary, "--name", "bench", "--data-dir", filepath.Join(dir, "etcd"),
		"--listen-client-urls", "http://"+clients, "--advertise-client-urls", "http://"+clients,
		"--listen-peer-urls", "http://"+peers, "--initial-advertise-peer-urls", "http://"+peers,
		"--initial-cluster", "bench=http://"+peers, "--logger", "zap", "--log-level", "error")
	if err != nil {
		return nil, err
	}
	return b.add("etcd", p), nil
}

// base64 as JSON has bytes.
type operation struct {
	Put put `json:"request_put"`
}

type put struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
}

// fillEtcd puts the instances of so many services, each as the registry shows it.
func fillEtcd(ctx context.Context, s *load.Server, services int) error {
	now := time.Now().UTC()
	until := now.Add(lease)
	return inBatches(services, func(records []registry.Record) error {
		var txn struct {
			Success []operation `json:"success"`
		}
		for _, r := range records {
			value, err := json.Marshal(registry.Instance{
				Registration: r.Registration, Status: r.Status, StatusSince: now, Generation: 1,
				RegisteredAt: now, UpdatedAt: now, LeaseExpiresAt: &until,
			})
			if err != nil {
				return err
			}
			txn.Success = append(txn.Success, operation{put{[]byte(etcdKey(r.ServiceName, r.ServiceID)), value}})
		}
		body, err := json.Marshal(txn)
		if err != nil {
			return err
		}
		return patiently(ctx, func() error {
			status, answer, err := s.Once(ctx, post("/v3/kv/txn", body))
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("txn: %d: %s", status, answer)
			}
			return err
		})
	}, now)
}

// patiently tries again for a while: a server that listens may not yet be ready.
func patiently(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func post(path string, body []byte) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, len(body), body)
}

// rangeRequest asks etcd for all instances of a service.
func rangeRequest(name string) []byte {
	body, err := json.Marshal(struct {
		Key []byte `json:"key"`
		End []byte `json:"range_end"`
	}{[]byte("/services/" + name + "/"), []byte("/services/" + name + "0")})
	if err != nil {
		panic(err) // of strings alone
	}
	return post("/v3/kv/range", body)
}

// parseRange reads etcd's answer.
func parseRange(status int, body []byte) (answer, error) {
	var got struct {
		KVs []struct {
			Value []byte `json:"value"`
		} `json:"kvs"`
	}
	if status != http.StatusOK {
		return nil, errors.New(string(body))
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, err
	}
	found := answer{}
	for _, kv := range got.KVs {
		if err := found.add(kv.Value); err != nil {
			return nil, err
		}
	}
	return found, nil
}
