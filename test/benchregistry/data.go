package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/boltstore"
)

// instances is how many instances a service has.
const instances = 3

// serviceName returns the n-th service's name; all are of the same length.
func serviceName(n int) string { return fmt.Sprintf("isectech-svc-%05d", n) }

// policyOf is the shipped policy with so many services more, which call nobody.
func policyOf(services int) *policy.Document {
	doc := policy.Default()
	for n := range services {
		doc.Services[serviceName(n)] = policy.ServiceEntry{Environments: []string{"production"}}
	}
	return doc
}

// recordOf is an instance as a service of the platform would register it.
func recordOf(service, instance int, now time.Time) registry.Record {
	name := serviceName(service)
	id := fmt.Sprintf("%s-%03d", auth.MustSubject(name).Alias(), instance+1)
	host := fmt.Sprintf("https://%s.internal.isectech.com", id)
	return registry.Record{
		Registration: registry.Registration{
			ServiceID: id, ServiceName: name, Version: "2.0.0", Environment: auth.Production, Region: "us-central1",
			Endpoints: []registry.Endpoint{
				{Name: "api", URL: host, Protocol: "https", Port: 443, Methods: []string{"GET", "POST", "PUT", "DELETE"}},
			},
			HealthCheck: registry.HealthCheck{
				Enabled: true, Path: "/health", Interval: registry.Duration(30 * time.Second), Timeout: registry.Duration(5 * time.Second),
				HealthyThreshold: registry.DefaultHealthyThreshold, UnhealthyThreshold: registry.DefaultUnhealthyThreshold,
			},
			Metadata: map[string]string{"team": "platform"}, Tags: []string{"api", "v2"},
			Weight: 1, Lease: registry.Duration(lease),
		},
		Status: registry.Healthy, StatusSince: now, RegisteredAt: now,
	}
}

const lease = 24 * time.Hour // nobody keeps it

// documentsOf are an instance's record and lease as the store keeps them.
func documentsOf(r registry.Record, now time.Time) []store.Write {
	return []store.Write{
		{Ref: store.Ref{Collection: store.Services, ID: r.ServiceID}, Data: r},
		{Ref: store.Ref{Collection: store.Leases, ID: r.ServiceID}, Data: map[string]any{
			"ends_at_us": now.Add(lease).UnixMicro(), "duration": lease.String(),
		}},
	}
}

// batch is how many instances are written at once.
const batch = 50

// fill writes the instances of so many services into a platform's store.
func fill(ctx context.Context, dir string, services int) (err error) {
	db, err := boltstore.Open(filepath.Join(dir, "platform.db"), boltstore.Options{Now: time.Now})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	now := time.Now().UTC()
	return inBatches(services, func(records []registry.Record) error {
		var writes []store.Write
		for _, r := range records {
			writes = append(writes, documentsOf(r, now)...)
		}
		_, err := db.Commit(ctx, store.Batch{Writes: writes, Actor: "operator:bench@isectech.com", Cause: "benchmark"})
		return err
	}, now)
}

// inBatches hands over the instances of so many services, some at a time.
func inBatches(services int, take func([]registry.Record) error, now time.Time) error {
	var some []registry.Record
	for n := range services {
		for i := range instances {
			if some = append(some, recordOf(n, i, now)); len(some) < batch {
				continue
			}
			if err := take(some); err != nil {
				return err
			}
			some = some[:0]
		}
	}
	if len(some) == 0 {
		return nil
	}
	return take(some)
}

// answer is what the registry and etcd have to know of a service alike: its instances by id, with what makes them
// reachable.
type answer map[string]string

func wanted(service int) answer {
	want := answer{}
	for i := range instances {
		r := recordOf(service, i, time.Time{})
		want[r.ServiceID] = r.Endpoints[0].URL
	}
	return want
}

// of reads instances in JSON.
func (a answer) add(text []byte) error {
	var i registry.Instance
	if err := json.Unmarshal(text, &i); err != nil {
		return err
	}
	if len(i.Endpoints) == 0 || i.Status != registry.Healthy {
		return fmt.Errorf("instance %q: no endpoint, or not healthy", i.ServiceID)
	}
	a[i.ServiceID] = i.Endpoints[0].URL
	return nil
}
