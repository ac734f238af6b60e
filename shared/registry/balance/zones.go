package balance

import (
	"maps"
	"slices"
)

// Preference of what is near, as Envoy's zone-aware routing has it in its simple form: callers are taken to be spread
// evenly over the places that the service has instances in.
//
// A place (a region, and in the caller's region a zone) that can do its callers' part or more keeps all of their
// calls. One that cannot, since it has fewer instances or has lost some, keeps what it can do, and the rest goes
// to the places that can do more than their own callers' part, in proportion to how much more. Every instance so
// gets its share by weight from all callers together, and no more calls leave a place than must.

// shares returns how much of the calls each of ready gets; it sums up to 1. all is ready and those left out.
func shares(all, ready []*instance, region, zone string) []float64 {
	regions := spread(all, ready, region, func(i *instance) string { return i.Region })
	near := func(list []*instance) (in []*instance) {
		for _, i := range list {
			if i.Region == region {
				in = append(in, i)
			}
		}
		return in
	}
	zones := place{}
	if region != "" || zone != "" {
		zones = spread(near(all), near(ready), zone, func(i *instance) string { return i.Zone })
	}
	out := make([]float64, len(ready))
	for n, i := range ready {
		out[n] = regions.part[i.Region] * float64(i.Weight) / regions.weight[i.Region]
		if i.Region == region && len(zones.weight) > 0 {
			out[n] = regions.part[i.Region] * zones.part[i.Zone] * float64(i.Weight) / zones.weight[i.Zone]
		}
	}
	return out
}

// place is how calls are spread over places.
type place struct {
	part   map[string]float64 // of the calls
	weight map[string]float64 // of what is ready there
}

// spread divides the calls of a caller at home among the places.
func spread(all, ready []*instance, home string, of func(*instance) string) place {
	p := place{part: map[string]float64{}, weight: map[string]float64{}}
	places := map[string]bool{}
	for _, i := range all {
		places[of(i)] = true
	}
	total := 0.0
	for _, i := range ready {
		p.weight[of(i)] += float64(i.Weight)
		total += float64(i.Weight)
	}
	for name, weight := range p.weight {
		p.part[name] = weight / total
	}
	if home == "" || !places[home] {
		return p
	}
	demand := 1 / float64(len(places)) // of the callers at each place
	kept := min(1, p.part[home]/demand)
	room := 0.0
	for _, name := range slices.Sorted(maps.Keys(p.part)) { // in order, so that rounding is always the same
		if name != home {
			room += max(0, p.part[name]-demand)
		}
	}
	for name, part := range p.part {
		switch {
		case name == home:
			p.part[name] = kept
		case room > 0:
			p.part[name] = (1 - kept) * max(0, part-demand) / room
		default:
			p.part[name] = 0
		}
	}
	return p
}
