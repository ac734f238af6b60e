package security

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

// When what mounts up is more than chance. What is counted is counted by one instance.
const (
	repeatWindow   = 5 * time.Minute // of refusals of one subject
	scopeAttempts  = 5               // refusals for want of a scope
	edgeAttempts   = 3               // refusals for want of an edge
	failureWindow  = time.Minute     // of failed authentications from one network
	failures       = 50
	sharedWindow   = 2 * time.Minute // in which the places of a token are at once
	sharedPlaces   = 4               // places remembered of a token
	sharedAtOnce   = 3               // addresses of one network that are more than a caller and its successor
	detectSubjects = 1 << 12         // remembered
	detectNetworks = 1 << 12
	detectTokens   = 1 << 14
)

// Detector finds what shows in refusals, in places and in numbers. Its memory is made once. It is safe for
// concurrent use, and depends on nothing but what it is told.
type Detector struct {
	subjects *table[tallies] // by subject and environment
	networks *table[tally]   // by network
	tokens   *table[places]  // by token id
	volumes  *table[volume]  // by subject and environment
}

// NewDetector returns a Detector that has seen nothing.
func NewDetector() *Detector {
	return &Detector{
		subjects: newTable[tallies](detectSubjects), networks: newTable[tally](detectNetworks),
		tokens: newTable[places](detectTokens), volumes: newTable[volume](detectSubjects),
	}
}

// tally counts within a window that begins with the first.
type tally struct {
	since int64
	count int64
}

// add counts one, and reports whether it is the one that makes n within the window.
func (t *tally) add(now int64, window time.Duration, n int64) bool {
	if now-t.since >= int64(window) || now < t.since {
		*t = tally{since: now}
	}
	t.count++
	return t.count == n
}

type tallies struct{ scope, edge tally }

// Refused returns what a refusal is, and what it is together with those before.
func (d *Detector) Refused(o Observation) []Incident {
	kind, severity := Classify(o.Reason)
	if kind == "" || o.Reason == auth.NoCredentials { // whoever shows nothing has not tried anything
		return nil
	}
	if kind == AuthFailed && o.Method == auth.MethodMTLS {
		kind, severity = InvalidCertificate, High
	}
	if o.Reason == auth.InsufficientScope && o.Privileged && !o.Subject.IsOperator() {
		kind, severity = PrivilegeViolation, High
	}
	first := o.incident(kind, severity)
	switch {
	case o.Headers != "":
		first.Evidence = map[string]string{"headers": clip(o.Headers)}
	case o.Subject.IsZero() && !o.Claimed.IsZero():
		first.ServiceName, first.Evidence = o.Claimed.String(), map[string]string{"service_name": "claimed"}
	}
	found := []Incident{first}
	if more := d.repeated(o); more.Kind != "" {
		found = append(found, more)
	}
	if more := d.burst(o, severity); more.Kind != "" {
		found = append(found, more)
	}
	return found
}

// repeated finds a subject that tries one thing after the other.
func (d *Detector) repeated(o Observation) Incident {
	if o.Subject.IsZero() || o.Reason != auth.InsufficientScope && o.Reason != auth.UntrustedEdge {
		return Incident{}
	}
	now := o.At.UnixNano()
	t, mu := d.subjects.lock(d.subjects.hash(o.Subject.String()+"@"+string(o.Environment)), now)
	defer mu.Unlock()
	switch {
	case o.Reason == auth.InsufficientScope && t.scope.add(now, repeatWindow, scopeAttempts):
		return o.mounted(ScopeViolation, High, scopeAttempts, repeatWindow)
	case o.Reason == auth.UntrustedEdge && t.edge.add(now, repeatWindow, edgeAttempts):
		return o.mounted(PrivilegeViolation, High, edgeAttempts, repeatWindow)
	}
	return Incident{}
}

// burst finds a network from which one forged credential after the other comes.
func (d *Detector) burst(o Observation, severity Severity) Incident {
	network := o.Source.Network()
	if o.Reason.Status() != 401 || severity == Low || !network.IsValid() {
		return Incident{}
	}
	now := o.At.UnixNano()
	t, mu := d.networks.lock(d.networks.hash(network.String()), now)
	defer mu.Unlock()
	if !t.add(now, failureWindow, failures) {
		return Incident{}
	}
	i := o.mounted(AuthFailed, Critical, failures, failureWindow)
	i.ServiceName, i.Environment = "", "" // whose credentials these are, nobody has proved
	return i
}

// Used returns what shows when a credential is used with success, which nearly always is nothing.
func (d *Detector) Used(o Observation) []Incident {
	var found []Incident
	if o.TokenID != "" && o.Source.Proven && o.Source.Address.IsValid() {
		if i := d.shared(o); i.Kind != "" {
			found = append(found, i)
		}
	}
	if i := d.volume(o); i.Kind != "" {
		found = append(found, i)
	}
	return found
}

// places are where a token was used last.
type places [sharedPlaces]place

type place struct {
	address netip.Addr
	at      int64
}

// shared finds a token that is used in two networks, or at several addresses of one, at once.
func (d *Detector) shared(o Observation) Incident {
	now, address, network := o.At.UnixNano(), o.Source.Address, o.Source.Network()
	seen, mu := d.tokens.lock(d.tokens.hash(o.TokenID), now)
	defer mu.Unlock()
	if seen.again(address, now) {
		return Incident{}
	}
	addresses, other := 1, netip.Prefix{}
	for _, s := range seen {
		if s.address == address || !s.recent(now) {
			continue
		}
		addresses++
		if n := (Source{Address: s.address}).Network(); n != network {
			other = n
		}
	}
	i := o.incident(TokenShared, Medium)
	i.Detail = "one access token is used at several addresses at once"
	i.Evidence = map[string]string{"addresses": strconv.Itoa(addresses), "window": sharedWindow.String()}
	switch {
	case other.IsValid():
		i.Severity, i.Detail = High, "one access token is used in several networks at once"
		i.Evidence["other_network"] = other.String()
	case addresses < sharedAtOnce:
		return Incident{}
	}
	return i
}

func (p place) recent(now int64) bool { return p.address.IsValid() && now-p.at < int64(sharedWindow) }

// again notes a place, and reports whether the token was there just before.
func (p *places) again(address netip.Addr, now int64) bool {
	into := &p[0]
	for i := range p {
		if p[i].address == address {
			known := p[i].recent(now)
			p[i].at = now
			return known
		}
		if p[i].at < into.at {
			into = &p[i]
		}
	}
	*into = place{address, now}
	return false
}

// incident is what was observed, as one.
func (o Observation) incident(kind Kind, severity Severity) Incident {
	return Incident{
		Kind: kind, Severity: severity, ServiceName: o.Subject.String(), Environment: o.Environment, Reason: o.Reason,
		Detail: clip(o.Detail), AuthMethod: o.Method, SourceNetwork: o.Source.name(), JTI: clip(o.TokenID), Count: 1, OccurredAt: o.At.UTC(),
	}
}

// mounted is an incident that is many.
func (o Observation) mounted(kind Kind, severity Severity, count int, window time.Duration) Incident {
	i := o.incident(kind, severity)
	i.Evidence = map[string]string{"attempts": strconv.Itoa(count), "window": window.String()}
	return i
}

// clip bounds what a caller can put into an event.
func clip(s string) string {
	const most = 256
	if len(s) > most {
		return s[:most]
	}
	return s
}
