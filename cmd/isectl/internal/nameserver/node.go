package nameserver

import (
	"strings"

	"github.com/miekg/dns"

	"github.com/isectech/service-networking/shared/registry/zone"
)

// The name of the server itself, which is on this machine.
const (
	self    = "ns." + zone.Domain
	mailbox = "hostmaster.isectech.com."
)

// node is a name of the zone with what is known of its alias.
type node struct {
	name    string // in lower case
	sets    []zone.Set
	version int64
}

// exists reports whether the name or one below it has records.
func (n node) exists() bool {
	if n.name == zone.Domain || n.name == self {
		return true
	}
	for _, s := range n.sets {
		if s.Name == n.name || strings.HasSuffix(s.Name, "."+n.name) {
			return true
		}
	}
	return false
}

// records returns the records of a type, under the name as it was asked for.
func (n node) records(asked string, kind uint16) []dns.RR {
	if n.name == zone.Domain {
		switch kind {
		case dns.TypeSOA:
			return []dns.RR{n.soa(asked)}
		case dns.TypeNS:
			return []dns.RR{&dns.NS{Hdr: rrHeader(asked, dns.TypeNS), Ns: self}}
		}
		return nil
	}
	var list []dns.RR
	for _, s := range n.sets {
		if s.Name == n.name && dns.StringToType[s.Type] == kind {
			list = append(list, parse(s)...)
		}
	}
	if len(n.sets) == 0 && n.name == self && kind == dns.TypeA {
		list = append(list, &dns.A{Hdr: rrHeader(asked, dns.TypeA), A: []byte{127, 0, 0, 1}})
	}
	for _, rr := range list {
		rr.Header().Name = asked
	}
	return list
}

// targets returns the addresses of what service records and name servers lead to, as far as they are in the zone.
func (n node) targets(answer []dns.RR) []dns.RR {
	wanted := make(map[string]bool)
	for _, rr := range answer {
		switch rr := rr.(type) {
		case *dns.SRV:
			wanted[rr.Target] = true
		case *dns.NS:
			wanted[rr.Ns] = true
		}
	}
	var list []dns.RR
	for _, s := range n.sets {
		if wanted[s.Name] && (s.Type == zone.A || s.Type == zone.AAAA) {
			list = append(list, parse(s)...)
		}
	}
	if wanted[self] {
		list = append(list, node{name: self}.records(self, dns.TypeA)...)
	}
	return list
}

// soa returns the zone's record of itself, which also says for how long it may be believed that something is not there.
func (n node) soa(asked string) dns.RR {
	return &dns.SOA{
		Hdr: rrHeader(asked, dns.TypeSOA), Ns: self, Mbox: mailbox,
		Serial:  uint32(n.version / 1e6), //nolint:gosec // G115: serial numbers go round (RFC 1982)
		Refresh: 60, Retry: 10, Expire: 600, Minttl: negativeTTL,
	}
}

// negativeTTL is how long resolvers may believe, in seconds, that there is no such name: a service that has just
// started should not be missed for long.
const negativeTTL = 5

func rrHeader(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: zone.DefaultTTL}
}

// parse reads the records of a set. None that zone.Records makes fails to be read.
func parse(s zone.Set) []dns.RR {
	list := make([]dns.RR, 0, len(s.Data))
	for _, data := range s.Data {
		rr, err := dns.NewRR(s.Name + " IN " + s.Type + " " + data)
		if err != nil || rr == nil {
			continue
		}
		rr.Header().Ttl = uint32(s.TTL) //nolint:gosec // G115: at most zone.MaxTTL
		list = append(list, rr)
	}
	return list
}
