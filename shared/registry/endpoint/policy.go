package endpoint

import (
	"errors"
	"net/netip"
	"strings"
)

// Policy says which of the networks that are refused by default may be reached all the same.
type Policy struct {
	Allow []netip.Prefix
}

// LoopbackNetworks are what a Policy allows where services may run on the machine itself.
func LoopbackNetworks() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// Judge parses a URL and judges its host: an address fully, a name by its form and by the names that are
// known to lead where no service is. A name's addresses must still be judged after resolution.
func (p Policy) Judge(raw string) (URL, error) {
	u, err := Parse(raw)
	if err != nil {
		return URL{}, err
	}
	if u.Addr.IsValid() {
		err = p.Address(u.Addr)
	} else {
		err = p.name(u.Host)
	}
	if err != nil {
		return URL{}, err
	}
	return u, nil
}

// Names that lead to no service of anyone's, with everything below them.
var deniedNames = []struct {
	reason Reason
	names  []string
}{
	{Loopback, []string{"localhost", "localdomain", "ip6-localhost", "ip6-loopback", "loopback"}},
	{Metadata, []string{"metadata", "metadata.google.internal", "metadata.goog", "instance-data",
		"instance-data.ec2.internal", "metadata.tencentyun.com"}},
	// Anyone's name below these resolves to the address that it spells, or to loopback.
	{RebindingName, []string{"nip.io", "sslip.io", "xip.io", "localtest.me", "lvh.me", "vcap.me",
		"lacolhost.com", "traefik.me", "rbndr.us", "1u.ms"}},
	{Broadcast, []string{"broadcasthost"}},
}

func (p Policy) name(host string) error {
	for _, d := range deniedNames {
		for _, name := range d.names {
			if host != name && !strings.HasSuffix(host, "."+name) {
				continue
			}
			if d.reason == Loopback && p.allows(netip.AddrFrom4([4]byte{127, 0, 0, 1})) {
				return nil
			}
			return refuse(d.reason, "the host %s is not allowed: %s", name, explain[d.reason])
		}
	}
	return nil
}

var explain = map[Reason]string{
	Loopback:      "it is the caller's own machine",
	LinkLocal:     "link-local addresses are not routed",
	Metadata:      "it is a cloud provider's metadata server",
	Unspecified:   "it means no address, or the caller's own machine",
	Multicast:     "it is a group's address",
	Broadcast:     "it is everyone's address",
	Reserved:      "it is never a service's address",
	RebindingName: "it resolves to whatever address it spells",
}

// denied lists the networks that are refused unless allowed, the more particular first.
var denied = []struct {
	reason Reason
	prefix netip.Prefix
}{
	{Metadata, netip.MustParsePrefix("169.254.169.254/32")},
	{Metadata, netip.MustParsePrefix("169.254.170.2/32")},
	{Metadata, netip.MustParsePrefix("100.100.100.200/32")},
	{Metadata, netip.MustParsePrefix("168.63.129.16/32")},
	{Metadata, netip.MustParsePrefix("192.0.0.192/32")},
	{Metadata, netip.MustParsePrefix("fd20:ce::254/128")},
	{Metadata, netip.MustParsePrefix("fd00:ec2::254/128")},
	{Loopback, netip.MustParsePrefix("127.0.0.0/8")},
	{LinkLocal, netip.MustParsePrefix("169.254.0.0/16")},
	{Unspecified, netip.MustParsePrefix("0.0.0.0/8")},
	{Broadcast, netip.MustParsePrefix("255.255.255.255/32")},
	{Multicast, netip.MustParsePrefix("224.0.0.0/4")},
	{Unspecified, netip.MustParsePrefix("::/128")},
	{Loopback, netip.MustParsePrefix("::1/128")},
	{Reserved, netip.MustParsePrefix("::/96")},          // IPv4-compatible (deprecated)
	{Reserved, netip.MustParsePrefix("64:ff9b:1::/48")}, // NAT64 with prefixes of anyone's choice
	{Reserved, netip.MustParsePrefix("100::/64")},       // discard
	{LinkLocal, netip.MustParsePrefix("fe80::/10")},
	{Reserved, netip.MustParsePrefix("fec0::/10")}, // site-local (deprecated)
	{Multicast, netip.MustParsePrefix("ff00::/8")},
}

// Address judges an address that is about to be connected to. An IPv6 address that carries an IPv4
// address (mapped, translated, 6to4, NAT64, ISATAP, Teredo) is judged by both.
func (p Policy) Address(addr netip.Addr) error {
	if addr.Zone() != "" {
		return refuse(Zone, "the address %s has a zone", addr.WithZone(""))
	}
	addr = addr.Unmap()
	if !addr.IsValid() {
		return refuse(Malformed, "this is no address")
	}
	if p.allows(addr) {
		return nil
	}
	for _, d := range denied {
		if d.prefix.Contains(addr) {
			return refuse(d.reason, "%s is not allowed: %s", addr, explain[d.reason])
		}
	}
	for _, inner := range embedded(addr) {
		var refusal *Refusal
		if errors.As(p.Address(inner), &refusal) {
			return refuse(refusal.Reason, "%s carries an address in disguise: %s", addr, refusal.Detail)
		}
	}
	return nil
}

func (p Policy) allows(addr netip.Addr) bool {
	for _, prefix := range p.Allow {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

var (
	sixToFour  = netip.MustParsePrefix("2002::/16")
	nat64      = netip.MustParsePrefix("64:ff9b::/96")
	teredo     = netip.MustParsePrefix("2001::/32")
	translated = netip.MustParsePrefix("::ffff:0:0:0/96")
)

// embedded lists the IPv4 addresses that an IPv6 address carries.
func embedded(addr netip.Addr) []netip.Addr {
	if !addr.Is6() {
		return nil
	}
	b := addr.As16()
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
	switch {
	case sixToFour.Contains(addr):
		return []netip.Addr{at(2)}
	case nat64.Contains(addr), translated.Contains(addr):
		return []netip.Addr{at(12)}
	case teredo.Contains(addr):
		client := netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})
		return []netip.Addr{at(4), client}
	case b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // ISATAP
		return []netip.Addr{at(12)}
	default:
		return nil
	}
}
