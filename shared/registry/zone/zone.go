// Package zone says what the DNS zone internal.isectech.com holds of the registry, and which change makes a zone
// that.
//
// An alias of a service is a name: backend.internal.isectech.com has the addresses (A, AAAA) of the service's
// instances, and _api._tcp.backend.internal.isectech.com (SRV) leads to the endpoint "api" of each, with its port
// and weight. What is published is what discovery chooses among: healthy instances, degraded ones where none is
// healthy, and none otherwise; instances of one environment alone.
//
// An endpoint whose URL has an address is published under a name of that address, such as
// ip-10-0-0-10.backend.internal.isectech.com, since a service record leads to a name. One whose URL has a host name,
// such as a Cloud Run URL, is published by its service record alone: Cloud Run routes by the host that is asked for,
// so that neither its addresses nor an alias (CNAME) of it would serve.
//
// Plan compares; it claims what it makes by a mark and leaves alone what others made. Nothing here knows how a zone
// is read or written.
package zone

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// Domain is the name of the zone.
const Domain = "internal.isectech.com."

// The time that resolvers may keep a record for.
const (
	DefaultTTL = 30 // seconds
	MaxTTL     = 300
)

// What an alias is published with at most, so that a change of all of it is one that Cloud DNS makes at once.
const (
	MaxRecords   = 100 // records in a set, which is Cloud DNS's bound too; of more, those with the greatest weight
	MaxEndpoints = 32  // endpoints; of more, the first by name
	MaxHosts     = 250 // names of addresses below the alias
)

// The types of records that are published.
const (
	A    = "A"
	AAAA = "AAAA"
	SRV  = "SRV"
	TXT  = "TXT"
)

// Key is what a zone has one set of records for.
type Key struct{ Name, Type string }

// Set is all records of one name and type.
type Set struct {
	Key
	TTL  int64
	Data []string // in presentation format
	// Routed is set where a routing policy stands in place of data: others made it.
	Routed bool
}

// Equal reports whether two sets say the same, whatever the order and spelling of their records.
func (s Set) Equal(o Set) bool {
	return s.Key == o.Key && s.TTL == o.TTL && !s.Routed && !o.Routed && slices.Equal(s.canonical(), o.canonical())
}

func (s Set) canonical() []string {
	data := slices.Clone(s.Data)
	for i, d := range data {
		if addr, err := netip.ParseAddr(d); err == nil {
			data[i] = addr.String()
		} else if s.Type == SRV {
			data[i] = strings.ToLower(d)
		}
	}
	slices.Sort(data)
	return data
}

// Name returns the name of an alias.
func Name(alias string) string { return alias + "." + Domain }

// Alias returns the alias that a name of the zone is, or lies under, in lower case.
func Alias(name string) (alias string, ok bool) {
	below, ok := strings.CutSuffix(strings.ToLower(name), "."+Domain)
	if !ok {
		return "", false
	}
	return below[strings.LastIndexByte(below, '.')+1:], true
}

// label reports whether an id may be a label of a name: a resolver need not accept one that ends in a hyphen.
func label(id string) bool {
	return id != "" && len(id) <= 63 && !strings.HasSuffix(id, "-")
}

// host returns the name of an address below an alias.
func host(addr netip.Addr, alias string) string {
	spelled := strings.NewReplacer(".", "-", ":", "-").Replace(addr.StringExpanded())
	return "ip-" + spelled + "." + Name(alias)
}

func typeOf(addr netip.Addr) string {
	if addr.Is4() {
		return A
	}
	return AAAA
}

func byKey(a, b Set) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type))
}
