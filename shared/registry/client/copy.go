package client

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/registry/balance"
)

// service is what is known of a service at a moment. It is not changed.
type service struct {
	name      string
	index     int64
	asOf      time.Time // when the registry last answered, less how old it said that its answer was
	instances map[string]registry.Instance
	reload    time.Time // when it is to be read anew: changes do not tell of leases that end or go on
}

const (
	reloadEvery = 30 * time.Second // at least
	reloadGap   = time.Second      // at most: a lease that has ended is noticed as soon as this
	maxPages    = 100              // of 500 instances
)

// load reads a service anew.
func (c *Client) load(ctx context.Context, ref string) (*service, error) {
	var next *service
	query := url.Values{"environment": {string(c.options.Environment)}, "limit": {strconv.Itoa(registry.MaxPage)}}
	for range maxPages {
		var page struct {
			ServiceName string              `json:"service_name"`
			Services    []registry.Instance `json:"services"`
			Next        string              `json:"next_page_token"`
			ServiceID   string              `json:"service_id"`
		}
		header, err := c.call(ctx, http.MethodGet, servicesPath+"/"+url.PathEscape(ref), query, nil, &page)
		switch {
		case answered(err, http.StatusNotFound):
			return nil, fmt.Errorf("%s: %w", ref, ErrUnknownService)
		case err != nil:
			return nil, err
		case page.ServiceID != "":
			return nil, fmt.Errorf("%s: %w: it is an instance", ref, ErrUnknownService)
		case !auth.ValidID(page.ServiceName) || next != nil && next.name != page.ServiceName:
			return nil, fmt.Errorf("%w: %s: an answer about %q", ErrUnavailable, ref, page.ServiceName)
		}
		if next == nil {
			// Changes since the first page are heard of again, which does no harm.
			index, _ := strconv.ParseInt(header.Get("X-Registry-Index"), 10, 64)
			next = &service{name: page.ServiceName, index: index, instances: map[string]registry.Instance{}}
			c.stamp(next, header)
		}
		for _, i := range page.Services {
			if c.mine(next, i) {
				next.instances[i.ServiceID] = i
			}
		}
		if page.Next == "" {
			c.plan(next, header)
			return next, nil
		}
		query.Set("page_token", page.Next)
	}
	return nil, fmt.Errorf("%w: %s has too many instances", ErrUnavailable, ref)
}

// mine reports whether an instance is one of the service, where the client looks for it.
func (c *Client) mine(s *service, i registry.Instance) bool {
	return i.ServiceName == s.name && i.Environment == c.options.Environment
}

// stamp notes how new an answer is.
func (c *Client) stamp(s *service, header http.Header) {
	s.asOf = c.options.Now()
	if age, err := strconv.ParseFloat(header.Get("X-Registry-Age"), 64); err == nil && age > 0 && age < 1e9 {
		s.asOf = s.asOf.Add(-time.Duration(age * float64(time.Second)))
	}
}

// plan notes when to read anew: when the first lease ends unless it was renewed, by the registry's clock.
func (c *Client) plan(s *service, header http.Header) {
	now := c.options.Now()
	theirs := now
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		theirs = date
	}
	wait := reloadEvery
	for _, i := range s.instances {
		if i.LeaseExpiresAt != nil && !i.Lapsed {
			wait = min(wait, i.LeaseExpiresAt.Sub(theirs))
		}
	}
	s.reload = now.Add(max(wait, reloadGap))
}

// watch waits for changes of a service, and returns it with them. The error is that of the call; 410 means that it has
// to be loaded anew.
func (c *Client) watch(ctx context.Context, s *service, wait time.Duration) (next *service, changed bool, err error) {
	wait = wait.Round(time.Millisecond)
	ctx, cancel := context.WithTimeout(ctx, wait+callTimeout)
	defer cancel()
	var heard struct {
		Index   int64 `json:"index"`
		Changes []struct {
			Type    registry.ChangeType `json:"type"`
			Service registry.Instance   `json:"service"`
		} `json:"changes"`
	}
	header, err := c.callWithin(ctx, http.MethodGet, watchPath, url.Values{
		"index": {strconv.FormatInt(s.index, 10)}, "wait": {wait.String()},
		"name": {s.name}, "environment": {string(c.options.Environment)},
	}, nil, &heard)
	if err != nil {
		return nil, false, err
	}
	copied := *s
	next = &copied
	next.index = max(s.index, heard.Index)
	c.stamp(next, header)
	if len(heard.Changes) == 0 {
		return next, false, nil
	}
	next.instances = make(map[string]registry.Instance, len(s.instances)+len(heard.Changes))
	for id, i := range s.instances {
		next.instances[id] = i
	}
	for _, change := range heard.Changes {
		i := change.Service
		known, ok := next.instances[i.ServiceID]
		switch {
		case !c.mine(s, i):
		case change.Type == registry.InstanceDeleted:
			delete(next.instances, i.ServiceID)
		case !ok || !known.UpdatedAt.After(i.UpdatedAt):
			next.instances[i.ServiceID] = i
		}
	}
	c.plan(next, header)
	if next.reload.After(s.reload) {
		next.reload = s.reload
	}
	return next, true, nil
}

// want is an endpoint that is looked for.
type want struct {
	endpoint string // "": the first that fits
	over     Over
}

// Over is what an endpoint must speak.
type Over uint8

// What an endpoint may be asked to speak.
const (
	Anything Over = iota
	HTTP          // http or https
	HTTPS
	GRPC // grpc or grpcs
	GRPCS
)

func (o Over) fits(protocol string) bool {
	switch o {
	case HTTP:
		return protocol == "http" || protocol == "https"
	case HTTPS:
		return protocol == "https"
	case GRPC:
		return protocol == "grpc" || protocol == "grpcs"
	case GRPCS:
		return protocol == "grpcs"
	default:
		return true
	}
}

// endpoints returns where the instances are reached that have what is wanted, and whose leases last.
func (s *service) endpoints(w want) []balance.Endpoint {
	var found []balance.Endpoint
	for _, id := range sortedIDs(s.instances) {
		i := s.instances[id]
		if i.Lapsed {
			continue
		}
		for _, e := range i.Endpoints {
			if w.endpoint != "" && e.Name != w.endpoint || !w.over.fits(e.Protocol) {
				continue
			}
			found = append(found, balance.Endpoint{
				Choice: registry.Choice{ServiceID: id, URL: e.URL, Protocol: e.Protocol, Port: e.Port, Path: e.Path},
				Weight: i.Weight, Region: i.Region, Zone: i.Metadata[ZoneKey], Status: i.Status,
			})
			break
		}
	}
	return found
}

// ZoneKey is the metadata by which an instance says which zone of its region it runs in.
const ZoneKey = "zone"

func sortedIDs(instances map[string]registry.Instance) []string {
	return slices.Sorted(maps.Keys(instances))
}
