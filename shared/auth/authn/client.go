package authn

import (
	"net/http"
	"net/netip"
	"strings"
)

// headerForwardedFor is the list to whose end each proxy adds the address that it was called from.
const headerForwardedFor = "X-Forwarded-For"

// Client returns the address that a proven proxy says the caller has; ok is false where none says so. Only what
// our own proxies added to the list counts, not what stood there before. r has been cleaned by Clean, after
// which no other hop's headers are left.
func (h Hops) Client(r *http.Request) (address netip.Addr, ok bool) {
	lines := r.Header[headerForwardedFor]
	if len(lines) == 0 {
		return netip.Addr{}, false
	}
	left := max(h.Depth, 1)
	for i := len(lines) - 1; i >= 0; i-- {
		for line := lines[i]; ; {
			comma := strings.LastIndexByte(line, ',')
			if left--; left == 0 {
				return parseAddress(strings.TrimSpace(line[comma+1:]))
			}
			if comma < 0 {
				break
			}
			line = line[:comma]
		}
	}
	return netip.Addr{}, false // shorter than our own proxies make it
}

// Peer returns the address at the other end of the connection, whoever that is: behind a proxy or on Cloud Run it
// is never the caller's.
func Peer(r *http.Request) netip.Addr {
	a, _ := parseAddress(r.RemoteAddr)
	return a
}

// parseAddress reads an address with or without a port.
func parseAddress(text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		with, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}, false
		}
		a = with.Addr()
	}
	return a.Unmap().WithZone(""), true
}
