package zone_test

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/registry/zone"
)

const api = "_api._tcp.backend.internal.isectech.com. SRV 30 "

// at returns an instance with endpoints "name url", of a status and weight.
func at(status registry.Status, weight int, endpoints ...string) registry.Instance {
	i := registry.Instance{Status: status, Registration: registry.Registration{Environment: auth.Production, Weight: weight}}
	for _, e := range endpoints {
		name, url, _ := strings.Cut(e, " ")
		i.Endpoints = append(i.Endpoints, registry.Endpoint{Name: name, URL: url})
	}
	return i
}

func in(env auth.Environment, i registry.Instance) registry.Instance {
	i.Environment = env
	return i
}

// lines spells sets out, one record a line.
func lines(sets []zone.Set) []string {
	var out []string
	for _, s := range sets {
		for _, d := range s.Data {
			out = append(out, fmt.Sprintf("%s %s %d %s", s.Name, s.Type, s.TTL, d))
		}
	}
	return out
}

func seq(instances []registry.Instance) iter.Seq[registry.Instance] { return slices.Values(instances) }

func TestRecords(t *testing.T) {
	t.Parallel()
	const (
		name = "backend.internal.isectech.com."
		ip1  = "ip-10-0-0-1." + name
		ip2  = "ip-10-0-0-2." + name
	)
	healthy, degraded := registry.Healthy, registry.Degraded
	tests := map[string]struct {
		env       auth.Environment
		instances []registry.Instance
		want      []string
	}{
		"none": {},
		"addresses": {
			instances: []registry.Instance{
				at(healthy, 2, "api http://10.0.0.2:8080", "admin http://10.0.0.2:9090"),
				at(healthy, 1, "api http://10.0.0.1:8080"),
			},
			want: []string{
				"_admin._tcp." + name + " SRV 30 0 2 9090 " + ip2,
				api + "0 1 8080 " + ip1, api + "0 2 8080 " + ip2,
				name + " A 30 10.0.0.1", name + " A 30 10.0.0.2",
				ip1 + " A 30 10.0.0.1", ip2 + " A 30 10.0.0.2",
			},
		},
		"degraded beside healthy": {
			instances: []registry.Instance{at(degraded, 1, "api http://10.0.0.2:80"), at(healthy, 1, "api http://10.0.0.1:80")},
			want:      []string{api + "0 1 80 " + ip1, name + " A 30 10.0.0.1", ip1 + " A 30 10.0.0.1"},
		},
		"degraded alone": {
			instances: []registry.Instance{at(degraded, 1, "api http://10.0.0.2:80")},
			want:      []string{api + "0 1 80 " + ip2, name + " A 30 10.0.0.2", ip2 + " A 30 10.0.0.2"},
		},
		"an endpoint that only a degraded one has": { // its service record, as discovery has it, but not the service's address
			instances: []registry.Instance{at(degraded, 1, "api http://10.0.0.2:80"), at(healthy, 1, "other http://10.0.0.1:80")},
			want: []string{
				api + "0 1 80 " + ip2, "_other._tcp." + name + " SRV 30 0 1 80 " + ip1,
				name + " A 30 10.0.0.1", ip1 + " A 30 10.0.0.1", ip2 + " A 30 10.0.0.2",
			},
		},
		"other statuses": {
			instances: []registry.Instance{at(registry.Starting, 1, "api http://10.0.0.2:80"), at(registry.Quarantined, 1, "api http://10.0.0.1:80")},
		},
		"IPv6, also one that is IPv4": {
			instances: []registry.Instance{at(healthy, 1, "api http://[FD12:3456::1]:80", "v4 http://[::ffff:10.0.0.1]:81")},
			want: []string{
				api + "0 1 80 ip-fd12-3456-0000-0000-0000-0000-0000-0001." + name, "_v4._tcp." + name + " SRV 30 0 1 81 " + ip1,
				name + " A 30 10.0.0.1", name + " AAAA 30 fd12:3456::1",
				ip1 + " A 30 10.0.0.1", "ip-fd12-3456-0000-0000-0000-0000-0000-0001." + name + " AAAA 30 fd12:3456::1",
			},
		},
		"host names": { // several instances behind one host weigh together
			instances: []registry.Instance{
				at(healthy, 1, "api https://backend-abc-uc.a.run.app"), at(healthy, 4, "api https://backend-abc-uc.a.run.app"),
				at(healthy, 1, "api http://backend:80"),
			},
			want: []string{api + "0 5 443 backend-abc-uc.a.run.app."},
		},
		"addresses that are nobody's": {
			instances: []registry.Instance{at(healthy, 1, "api http://127.0.0.1:80", "b http://169.254.169.254", "c http://localhost:1", "d nonsense")},
		},
		"loopback in development": {
			env: auth.Development,
			instances: []registry.Instance{
				in(auth.Development, at(healthy, 1, "api http://127.0.0.1:80")), at(healthy, 1, "api http://10.0.0.1:80"),
			},
			want: []string{
				api + "0 1 80 ip-127-0-0-1." + name, name + " A 30 127.0.0.1", "ip-127-0-0-1." + name + " A 30 127.0.0.1",
			},
		},
		"names that are no labels": {
			instances: []registry.Instance{at(healthy, 1, "api- http://10.0.0.1:80", strings.Repeat("a", 63)+" http://10.0.0.1:80")},
			want:      []string{name + " A 30 10.0.0.1"},
		},
	}
	for what, tt := range tests {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			env := tt.env
			if env == "" {
				env = auth.Production
			}
			if diff := cmp.Diff(tt.want, lines(zone.Records("backend", env, zone.DefaultTTL, seq(tt.instances)))); diff != "" {
				t.Error(diff)
			}
		})
	}
	if sets := zone.Records("backend-", auth.Production, 30, seq([]registry.Instance{at(healthy, 1, "api http://10.0.0.1")})); sets != nil {
		t.Errorf("an alias that is no label has %v", sets)
	}
}

// A large service's sets are bounded, hold those with the greatest weight, and do not depend on the order.
func TestRecordsBounded(t *testing.T) {
	t.Parallel()
	var instances []registry.Instance
	for i := range 600 {
		weight := 1
		if i%10 == 0 {
			weight = 500
		}
		var endpoints []string
		for e := range 8 {
			endpoints = append(endpoints, fmt.Sprintf("e%d-%d http://10.%d.%d.%d:80", e, i%7, e, i/256, i%256))
		}
		instances = append(instances, at(registry.Healthy, weight, endpoints...))
	}
	want := zone.Records("backend", auth.Production, 30, seq(instances))
	rand.Shuffle(len(instances), func(i, j int) { instances[i], instances[j] = instances[j], instances[i] })
	got := zone.Records("backend", auth.Production, 30, seq(instances))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("another order, other sets:\n%s", diff)
	}
	services, hosts := 0, 0
	for _, s := range got {
		switch {
		case len(s.Data) > zone.MaxRecords:
			t.Errorf("%s %s has %d records", s.Name, s.Type, len(s.Data))
		case s.Type == zone.SRV:
			services++
		case strings.HasPrefix(s.Name, "ip-"):
			hosts++
		}
	}
	if services > zone.MaxEndpoints || hosts > zone.MaxHosts {
		t.Errorf("%d endpoints, %d names of addresses", services, hosts)
	}
}

// Of more instances than there is room for, the heaviest are published.
func TestRecordsHeaviest(t *testing.T) {
	t.Parallel()
	var instances []registry.Instance
	for i := range 150 {
		instances = append(instances, at(registry.Healthy, 1+i, fmt.Sprintf("api http://10.0.0.%d:80", i)))
	}
	for _, s := range zone.Records("backend", auth.Production, 30, seq(instances)) {
		if strings.HasPrefix(s.Name, "ip-") {
			continue
		}
		if len(s.Data) != zone.MaxRecords {
			t.Errorf("%s %s has %d records", s.Name, s.Type, len(s.Data))
		}
		for _, d := range s.Data {
			if d == "10.0.0.49" || strings.HasSuffix(d, " ip-10-0-0-49.backend.internal.isectech.com.") {
				t.Errorf("%s %s has %s, which weighs less than 100 others", s.Name, s.Type, d)
			}
		}
	}
}
