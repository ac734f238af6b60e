// Package registry is the service registry: the model of a registration and its rules, the lifecycle of
// an instance, the snapshot that answers every read, and the choice of an endpoint.
//
// Decode and Registration.Check say everything that is wrong with a registration. Register, Heartbeat,
// Apply and Unregister (lifecycle.go) are pure decisions over one Record; Registry performs them on a
// store and keeps a Snapshot of all of it, which readers share without locks. Nothing here knows HTTP.
package registry

import (
	"maps"
	"slices"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry/endpoint"
)

// Registration is what a service says about one of its instances.
type Registration struct {
	ServiceID   string            `json:"service_id"`   // the instance: <alias>-<suffix>
	ServiceName string            `json:"service_name"` // whose instance it is
	Version     string            `json:"version,omitempty"`
	Environment auth.Environment  `json:"environment"`
	Region      string            `json:"region,omitempty"`
	Endpoints   []Endpoint        `json:"endpoints"`
	HealthCheck HealthCheck       `json:"health_check"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	Tags        []string          `json:"tags,omitempty"`
	Weight      int               `json:"weight"` // share of the traffic; 0: registered but never picked
	Lease       Duration          `json:"lease"`  // how long a registration or heartbeat lasts; 0: for ever
}

// Endpoint is one way to reach an instance.
type Endpoint struct {
	Name     string   `json:"name"`
	URL      string   `json:"url"`
	Protocol string   `json:"protocol"` // http, https, grpc, grpcs, tcp or tls
	Port     int      `json:"port"`
	Path     string   `json:"path,omitempty"`
	Methods  []string `json:"methods,omitempty"` // HTTP methods; none means that it does not say
	IsPublic bool     `json:"is_public,omitzero"`
}

// HealthCheck says how an instance wants to be probed.
type HealthCheck struct {
	Enabled            bool     `json:"enabled"`
	Path               string   `json:"path,omitempty"`
	Interval           Duration `json:"interval,omitzero"`
	Timeout            Duration `json:"timeout,omitzero"`
	HealthyThreshold   int      `json:"healthy_threshold,omitzero"`   // passes in a row until healthy
	UnhealthyThreshold int      `json:"unhealthy_threshold,omitzero"` // failures in a row until unhealthy
}

// What a registration gets where it says nothing.
const (
	DefaultWeight             = 1
	DefaultLease              = 90 * time.Second
	DefaultInterval           = 30 * time.Second
	DefaultTimeout            = 5 * time.Second
	DefaultHealthyThreshold   = 2
	DefaultUnhealthyThreshold = 3
)

// WithDefaults returns r with what it leaves out filled in: the numbers of an enabled health check, and
// an endpoint's protocol and port from its URL. It gives no weight and no lease, whose zeros mean something.
func (r Registration) WithDefaults() Registration {
	r = r.normal()
	if h := &r.HealthCheck; h.Enabled {
		if h.Interval == 0 {
			h.Interval = Duration(DefaultInterval)
		}
		if h.Timeout == 0 {
			h.Timeout = Duration(min(DefaultTimeout, h.Interval.Std()))
		}
		if h.HealthyThreshold == 0 {
			h.HealthyThreshold = DefaultHealthyThreshold
		}
		if h.UnhealthyThreshold == 0 {
			h.UnhealthyThreshold = DefaultUnhealthyThreshold
		}
	}
	for i := range r.Endpoints {
		e := &r.Endpoints[i]
		if e.Port != 0 && e.Protocol != "" {
			continue
		}
		u, err := endpoint.Parse(e.URL)
		if err != nil {
			continue // Check says what is wrong with it
		}
		if e.Port == 0 {
			e.Port = int(u.Port)
		}
		if e.Protocol == "" {
			e.Protocol = u.Scheme
		}
	}
	return r
}

// normal returns a copy of r whose lists share nothing with r and are nil where empty.
func (r Registration) normal() Registration {
	r.Endpoints = slices.Clone(r.Endpoints)
	for i := range r.Endpoints {
		if len(r.Endpoints[i].Methods) == 0 {
			r.Endpoints[i].Methods = nil
		}
	}
	if len(r.Endpoints) == 0 {
		r.Endpoints = []Endpoint{} // encodes as [], which readers may count on
	}
	r.Metadata, r.Tags = maps.Clone(r.Metadata), slices.Clone(r.Tags)
	if len(r.Metadata) == 0 {
		r.Metadata = nil
	}
	if len(r.Tags) == 0 {
		r.Tags = nil
	}
	return r
}

// Equal reports whether two registrations say the same.
func (r Registration) Equal(o Registration) bool {
	return r.ServiceID == o.ServiceID && r.ServiceName == o.ServiceName && r.Version == o.Version &&
		r.Environment == o.Environment && r.Region == o.Region && r.Weight == o.Weight && r.Lease == o.Lease &&
		sameProbe(r, o) && maps.Equal(r.Metadata, o.Metadata) && slices.Equal(r.Tags, o.Tags)
}

// sameProbe reports whether what was learned by probing a holds for b.
func sameProbe(a, b Registration) bool {
	return a.HealthCheck == b.HealthCheck && slices.EqualFunc(a.Endpoints, b.Endpoints, func(x, y Endpoint) bool {
		return x.Name == y.Name && x.URL == y.URL && x.Protocol == y.Protocol && x.Port == y.Port &&
			x.Path == y.Path && x.IsPublic == y.IsPublic && slices.Equal(x.Methods, y.Methods)
	})
}

// endpoint returns the endpoint of a name.
func (r *Registration) endpoint(name string) (*Endpoint, bool) {
	for i := range r.Endpoints {
		if r.Endpoints[i].Name == name {
			return &r.Endpoints[i], true
		}
	}
	return nil, false
}
