// Package nameserver answers the DNS zone of the registry on this machine, over UDP and TCP. It is authoritative for
// that zone and knows nothing else: it asks nobody, and whoever asks about another zone is refused.
package nameserver

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"github.com/isectech/service-networking/shared/registry/zone"
)

// Source tells what the zone holds of an alias, and a number that grows whenever that may have changed.
type Source func(ctx context.Context, alias string) (sets []zone.Set, version int64, err error)

// The sizes of answers over UDP: what every client takes, and what is sent at most to those who take more, since larger
// packets are lost in pieces on some networks.
const (
	minSize = dns.MinMsgSize
	maxSize = 1232
)

// answerer answers single messages.
type answerer struct {
	source Source
	fail   func(error) // told of what the source fails with
}

// header is the length of a message's header.
const header = 12

// answer returns the answer to a message, or nil where none is due: to what is no question, and so never to an answer,
// lest two servers talk to each other for ever.
func (a *answerer) answer(ctx context.Context, packet []byte, udp bool) []byte {
	if len(packet) < header || packet[2]&0x80 != 0 {
		return nil
	}
	limit := dns.MaxMsgSize
	if udp {
		limit = minSize
	}
	var query dns.Msg
	if err := query.Unpack(packet); err != nil {
		return malformed(packet)
	}
	reply := new(dns.Msg)
	reply.SetReply(&query) // the name as it was asked for, in upper and lower case
	reply.RecursionAvailable, reply.Compress = false, true
	edns := query.IsEdns0()
	if edns != nil {
		if udp {
			limit = min(max(int(edns.UDPSize()), minSize), maxSize)
		}
		reply.SetEdns0(maxSize, false)
	}
	switch {
	case query.Opcode != dns.OpcodeQuery:
		reply.Rcode = dns.RcodeNotImplemented
	case len(query.Question) != 1 || len(query.Answer)+len(query.Ns) > 0:
		reply.Rcode = dns.RcodeFormatError
	case edns != nil && edns.Version() != 0:
		reply.Rcode = dns.RcodeBadVers
	default:
		a.resolve(ctx, reply, query.Question[0])
	}
	if reply.Len() > limit { // what was not asked for goes first, and is no reason to ask again
		reply.Extra = reply.Extra[:0]
		if edns != nil {
			reply.SetEdns0(maxSize, false)
		}
		reply.Truncate(limit)
	}
	out, err := reply.Pack()
	if err != nil {
		a.fail(fmt.Errorf("answer to %d questions: %w", len(query.Question), err))
		return nil
	}
	return out
}

// malformed answers what cannot be read by its header alone.
func malformed(packet []byte) []byte {
	out := make([]byte, header)
	copy(out, packet[:4])
	out[2] = 0x80 | packet[2]&0x79 // an answer, of the same opcode and wish for recursion
	out[3] = dns.RcodeFormatError
	return out
}

// resolve fills in the answer to one question.
func (a *answerer) resolve(ctx context.Context, reply *dns.Msg, q dns.Question) {
	name := strings.ToLower(q.Name)
	if q.Qclass != dns.ClassINET && q.Qclass != dns.ClassANY || !dns.IsSubDomain(zone.Domain, name) ||
		q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR {
		reply.Rcode = dns.RcodeRefused
		return
	}
	reply.Authoritative = true
	alias, _ := zone.Alias(name)
	sets, version, err := a.source(ctx, alias)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			a.fail(err)
		}
		reply.Authoritative, reply.Rcode = false, dns.RcodeServerFailure
		return
	}
	n := node{name: name, sets: sets, version: version}
	if q.Qtype == dns.TypeANY && n.exists() { // RFC 8482: one small record for all
		reply.Answer = []dns.RR{&dns.HINFO{Hdr: rrHeader(q.Name, dns.TypeHINFO), Cpu: "RFC8482"}}
		return
	}
	reply.Answer = n.records(q.Name, q.Qtype)
	switch {
	case len(reply.Answer) > 0:
		reply.Extra = append(reply.Extra, n.targets(reply.Answer)...)
	case !n.exists():
		reply.Rcode = dns.RcodeNameError
		fallthrough
	default:
		reply.Ns = []dns.RR{n.soa(zone.Domain)}
	}
}
