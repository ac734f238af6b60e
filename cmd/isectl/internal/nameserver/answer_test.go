package nameserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/registry/zone"
)

const backend = "backend.internal.isectech.com."

// instances are those of the backend.
func instances(n int) []registry.Instance {
	var list []registry.Instance
	for i := range n {
		list = append(list, registry.Instance{Status: registry.Healthy, Registration: registry.Registration{
			Environment: auth.Production, Weight: 1,
			Endpoints: []registry.Endpoint{{Name: "api", URL: fmt.Sprintf("http://10.0.0.%d:8080", i+1)}},
		}})
	}
	return list
}

// source knows the backend, and fails for the alias "broken".
func source(n int) Source {
	return func(_ context.Context, alias string) ([]zone.Set, int64, error) {
		switch alias {
		case "backend":
			return zone.Records(alias, auth.Production, 30, slices.Values(instances(n))), 1_700_000_000_000_000, nil
		case "broken":
			return nil, 0, errors.New("the store is out of reach")
		default:
			return nil, 1_700_000_000_000_000, nil
		}
	}
}

func newAnswerer(t testing.TB, n int) *answerer {
	return &answerer{source: source(n), fail: func(err error) { t.Log(err) }}
}

// ask sends a message and reads the answer.
func ask(t *testing.T, a *answerer, q *dns.Msg, udp bool) *dns.Msg {
	t.Helper()
	packet, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	out := a.answer(t.Context(), packet, udp)
	reply := new(dns.Msg)
	if err := reply.Unpack(out); err != nil {
		t.Fatalf("answer %x: %v", out, err)
	}
	if reply.Id != q.Id || !reply.Response || reply.RecursionAvailable || udp && len(out) > maxSize {
		t.Errorf("header %+v, %d bytes", reply.MsgHdr, len(out))
	}
	return reply
}

func question(name string, kind uint16) *dns.Msg { return new(dns.Msg).SetQuestion(name, kind) }

func texts(list []dns.RR) []string {
	var out []string
	for _, rr := range list {
		if rr.Header().Rrtype != dns.TypeOPT {
			out = append(out, strings.Join(strings.Fields(rr.String()), " "))
		}
	}
	return out
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	const (
		srv   = "_api._tcp." + backend
		ip1   = "ip-10-0-0-1." + backend
		soa   = "internal.isectech.com. 30 IN SOA ns.internal.isectech.com. hostmaster.isectech.com. 1700000000 60 10 600 5"
		other = "unknown.internal.isectech.com."
	)
	a := newAnswerer(t, 1)
	tests := map[string]struct {
		name          string
		kind          uint16
		rcode         int
		answer, extra []string
		authority     []string
	}{
		"addresses":          {name: backend, kind: dns.TypeA, answer: []string{backend + " 30 IN A 10.0.0.1"}},
		"in capitals":        {name: "BackEnd.Internal.iSECTech.com.", kind: dns.TypeA, answer: []string{"BackEnd.Internal.iSECTech.com. 30 IN A 10.0.0.1"}},
		"a service":          {name: srv, kind: dns.TypeSRV, answer: []string{srv + " 30 IN SRV 0 1 8080 " + ip1}, extra: []string{ip1 + " 30 IN A 10.0.0.1"}},
		"a host":             {name: ip1, kind: dns.TypeA, answer: []string{ip1 + " 30 IN A 10.0.0.1"}},
		"no such type":       {name: backend, kind: dns.TypeAAAA, authority: []string{soa}},
		"between the names":  {name: "_tcp." + backend, kind: dns.TypeA, authority: []string{soa}},
		"no such name":       {name: other, kind: dns.TypeA, rcode: dns.RcodeNameError, authority: []string{soa}},
		"none below":         {name: "x." + backend, kind: dns.TypeA, rcode: dns.RcodeNameError, authority: []string{soa}},
		"a dot in a label":   {name: `x\.` + backend, kind: dns.TypeA, rcode: dns.RcodeNameError, authority: []string{soa}},
		"the zone":           {name: zone.Domain, kind: dns.TypeSOA, answer: []string{soa}},
		"the zone's server":  {name: zone.Domain, kind: dns.TypeNS, answer: []string{"internal.isectech.com. 30 IN NS ns.internal.isectech.com."}, extra: []string{"ns.internal.isectech.com. 30 IN A 127.0.0.1"}},
		"the zone's address": {name: zone.Domain, kind: dns.TypeA, authority: []string{soa}},
		"the server":         {name: "ns.internal.isectech.com.", kind: dns.TypeA, answer: []string{"ns.internal.isectech.com. 30 IN A 127.0.0.1"}},
		"anything":           {name: backend, kind: dns.TypeANY, answer: []string{backend + ` 30 IN HINFO "RFC8482" ""`}},
		"anything of none":   {name: other, kind: dns.TypeANY, rcode: dns.RcodeNameError, authority: []string{soa}},
		"another zone":       {name: "isectech.com.", kind: dns.TypeA, rcode: dns.RcodeRefused},
		"a look-alike":       {name: "xinternal.isectech.com.", kind: dns.TypeA, rcode: dns.RcodeRefused},
		"the root":           {name: ".", kind: dns.TypeNS, rcode: dns.RcodeRefused},
		"a transfer":         {name: zone.Domain, kind: dns.TypeAXFR, rcode: dns.RcodeRefused},
		"out of reach":       {name: "broken.internal.isectech.com.", kind: dns.TypeA, rcode: dns.RcodeServerFailure},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reply := ask(t, a, question(tt.name, tt.kind), true)
			if reply.Rcode != tt.rcode || reply.Truncated || reply.Question[0].Name != tt.name ||
				reply.Authoritative != (tt.rcode != dns.RcodeRefused && tt.rcode != dns.RcodeServerFailure) {
				t.Errorf("%v", reply)
			}
			for _, part := range []struct {
				what string
				want []string
				got  []dns.RR
			}{{"answer", tt.answer, reply.Answer}, {"authority", tt.authority, reply.Ns}, {"additional", tt.extra, reply.Extra}} {
				if diff := cmp.Diff(part.want, texts(part.got)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", part.what, diff)
				}
			}
		})
	}
}

// An answer that is too large for UDP says so, and comes whole over TCP.
func TestAnswerSizes(t *testing.T) {
	t.Parallel()
	a := newAnswerer(t, 60)
	edns := func(size uint16) *dns.Msg { return question(backend, dns.TypeA).SetEdns0(size, false) }
	for name, tt := range map[string]struct {
		query     *dns.Msg
		udp       bool
		limit     int
		truncated bool
	}{
		"UDP":                     {question(backend, dns.TypeA), true, 512, true},
		"UDP, tiny":               {edns(1), true, 512, true},
		"UDP, larger":             {edns(1100), true, 1100, false},
		"UDP, as large as can be": {edns(65535), true, maxSize, false},
		"TCP":                     {question(backend, dns.TypeA), false, dns.MaxMsgSize, false},
	} {
		reply := ask(t, a, tt.query, tt.udp)
		reply.Compress = true
		if reply.Len() > tt.limit || reply.Truncated != tt.truncated || !tt.truncated && len(reply.Answer) != 60 {
			t.Errorf("%s: %d bytes, %d records, truncated %v", name, reply.Len(), len(reply.Answer), reply.Truncated)
		}
		if (reply.IsEdns0() != nil) != (tt.query.IsEdns0() != nil) {
			t.Errorf("%s: EDNS %v", name, reply.IsEdns0())
		}
	}
	// The addresses of hosts that nobody asked for are left out without a word.
	few := ask(t, newAnswerer(t, 7), question("_api._tcp."+backend, dns.TypeSRV), true)
	if few.Truncated || len(few.Answer) != 7 || len(few.Extra) != 0 {
		t.Errorf("truncated %v, %d records, %d more", few.Truncated, len(few.Answer), len(few.Extra))
	}
}

func TestAnswerToNonsense(t *testing.T) {
	t.Parallel()
	a := newAnswerer(t, 1)
	pack := func(m *dns.Msg) []byte {
		packet, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return packet
	}
	good := pack(question(backend, dns.TypeA))
	answered := question(backend, dns.TypeA)
	answered.Response = true
	two := question(backend, dns.TypeA)
	two.Question = append(two.Question, two.Question[0])
	update := question(backend, dns.TypeA)
	update.Opcode = dns.OpcodeUpdate
	chaos := question(backend, dns.TypeA)
	chaos.Question[0].Qclass = dns.ClassCHAOS
	version := question(backend, dns.TypeA).SetEdns0(1232, false)
	version.IsEdns0().SetVersion(1)
	for name, tt := range map[string]struct {
		packet []byte
		rcode  int // -1: no answer
	}{
		"nothing":            {nil, -1},
		"half a header":      {good[:11], -1},
		"an answer":          {pack(answered), -1},
		"cut off":            {good[:len(good)-3], dns.RcodeFormatError},
		"no question":        {good[:4:4], -1},
		"a loop of pointers": {append(slices.Clone(good[:12]), 0xc0, 0x0c, 0, 1, 0, 1), dns.RcodeFormatError},
		"two questions":      {pack(two), dns.RcodeFormatError},
		"an update":          {pack(update), dns.RcodeNotImplemented},
		"another class":      {pack(chaos), dns.RcodeRefused},
		"a later EDNS":       {pack(version), dns.RcodeBadVers},
	} {
		out := a.answer(t.Context(), tt.packet, true)
		if tt.rcode == -1 {
			if out != nil {
				t.Errorf("%s: %x", name, out)
			}
			continue
		}
		var reply dns.Msg
		if err := reply.Unpack(out); err != nil || reply.Rcode != tt.rcode || !reply.Response || reply.Id != uint16(tt.packet[0])<<8|uint16(tt.packet[1]) {
			t.Errorf("%s: %v %v", name, &reply, err)
		}
	}
}

// Whatever comes: there is no panic, no answer to an answer, no answer larger than may be sent, and each can be read.
func FuzzAnswer(f *testing.F) {
	for _, kind := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypeANY, dns.TypeSOA, dns.TypeAXFR} {
		for _, name := range []string{backend, "_api._tcp." + backend, "x.", ".", `a\.b.` + backend, zone.Domain} {
			packet, err := question(name, kind).SetEdns0(4096, true).Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(packet, true)
			f.Add(packet[:len(packet)/2], false)
		}
	}
	a := &answerer{source: source(40), fail: func(error) {}}
	f.Fuzz(func(t *testing.T, packet []byte, udp bool) {
		out := a.answer(t.Context(), packet, udp)
		if out == nil {
			return
		}
		var reply dns.Msg
		if err := reply.Unpack(out); err != nil {
			t.Fatalf("an answer that cannot be read: %x: %v", out, err)
		}
		if packet[2]&0x80 != 0 || !reply.Response || reply.Id != uint16(packet[0])<<8|uint16(packet[1]) || udp && len(out) > maxSize {
			t.Errorf("%x is answered by %x", packet, out)
		}
	})
}

// serve runs a server until the test ends.
func serve(t *testing.T, n int) *Server {
	t.Helper()
	s, err := Listen(t.Context(), "0", source(n), discard())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if conn, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", s.Address()); err == nil {
			_ = conn.Close()
			t.Error("the port is still open")
		}
	})
	return s
}
