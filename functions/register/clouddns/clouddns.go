// Package clouddns reads and changes a managed zone of Cloud DNS.
//
// A change is made whole or not at all, and only if each set that it deletes stands there exactly as it says and none
// that it adds stands there already: so a change that was planned from what is no longer there is refused.
package clouddns

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"google.golang.org/api/dns/v1"
	"google.golang.org/api/option"

	"github.com/isectech/service-networking/shared/registry/zone"
)

// pageSize is how many sets are asked for at once.
const pageSize = 1000

// maxPages bounds a reading: more sets than this is no zone of ours.
const maxPages = 100

// Zone is a managed zone. The client is made at the first use, which none of what starts a function waits for.
type Zone struct {
	project, name string
	options       []option.ClientOption

	mu     sync.Mutex
	client *dns.Service
}

// New returns the managed zone of a project.
func New(project, name string, opts ...option.ClientOption) *Zone {
	return &Zone{project: project, name: name, options: opts}
}

// At are the options that reach an emulator at host:port instead of Cloud DNS.
func At(address string) []option.ClientOption {
	return []option.ClientOption{option.WithEndpoint("http://" + address + "/"), option.WithoutAuthentication()}
}

func (z *Zone) service(ctx context.Context) (*dns.Service, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.client != nil {
		return z.client, nil
	}
	// The client outlives the request that is the first to need it.
	client, err := dns.NewService(context.WithoutCancel(ctx), z.options...)
	if err != nil {
		return nil, fmt.Errorf("open Cloud DNS: %w: %w", ErrUnavailable, err)
	}
	z.client = client
	return client, nil
}

// All returns all sets of the zone.
func (z *Zone) All(ctx context.Context) ([]zone.Set, error) { return z.list(ctx, "") }

// Under returns the sets of an alias and of the names below it.
func (z *Zone) Under(ctx context.Context, alias string) ([]zone.Set, error) {
	sets, err := z.list(ctx, `name=has_suffix("`+zone.Name(alias)+`")`)
	if err != nil {
		return nil, err
	}
	own := sets[:0]
	for _, s := range sets { // a suffix takes in the alias x-backend beside backend
		if of, ok := zone.Alias(s.Name); ok && of == alias {
			own = append(own, s)
		}
	}
	return own, nil
}

var errTooMany = errors.New("more sets of records than a zone of the registry has")

func (z *Zone) list(ctx context.Context, filter string) ([]zone.Set, error) {
	client, err := z.service(ctx)
	if err != nil {
		return nil, err
	}
	call := client.ResourceRecordSets.List(z.project, z.name).MaxResults(pageSize)
	if filter != "" {
		call = call.Filter(filter)
	}
	var sets []zone.Set
	pages, apex := 0, ""
	err = call.Pages(ctx, func(page *dns.ResourceRecordSetsListResponse) error {
		if pages++; pages > maxPages {
			return errTooMany
		}
		for _, r := range page.Rrsets {
			if r.Type == "SOA" {
				apex = r.Name
			}
			sets = append(sets, zone.Set{
				Key: zone.Key{Name: r.Name, Type: r.Type}, TTL: r.Ttl, Data: r.Rrdatas, Routed: r.RoutingPolicy != nil,
			})
		}
		return nil
	})
	if err != nil {
		return nil, translate(opRead, err)
	}
	if apex != "" && !strings.EqualFold(apex, zone.Domain) {
		return nil, fmt.Errorf("the zone %s is %s and not %s: %w", z.name, apex, zone.Domain, ErrWrongZone)
	}
	return sets, nil
}

// Apply makes a change.
func (z *Zone) Apply(ctx context.Context, c zone.Change) error {
	client, err := z.service(ctx)
	if err != nil {
		return err
	}
	_, err = client.Changes.Create(z.project, z.name, &dns.Change{
		Deletions: sets(c.Deletions), Additions: sets(c.Additions),
	}).Context(ctx).Do()
	return translate(opChange, err)
}

func sets(list []zone.Set) []*dns.ResourceRecordSet {
	out := make([]*dns.ResourceRecordSet, len(list))
	for i, s := range list {
		out[i] = &dns.ResourceRecordSet{Name: s.Name, Type: s.Type, Ttl: s.TTL, Rrdatas: s.Data}
	}
	return out
}
