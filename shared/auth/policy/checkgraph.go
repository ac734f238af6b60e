package policy

import (
	"maps"
	"slices"

	"github.com/isectech/service-networking/shared/auth"
)

// platformScopes are those that the platform's own endpoints ask services for.
const platformScopes = auth.ServiceDiscover | auth.MetricsRead

// idle warns of scopes that a service may be granted and can use nowhere, though it may call others.
func (c *checker) idle(p pairs) {
	carried := make(map[string]auth.Scopes)
	for ends, refs := range p.refs {
		for _, r := range refs {
			switch {
			case r.edge.denies() || r.envs == 0:
			case r.scopes == 0:
				carried[ends[0]] |= auth.AllScopes
			default:
				carried[ends[0]] |= r.scopes
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(carried)) {
		for i, scope := range c.doc.Services[name].Scopes {
			if one, ok := auth.ParseScope(scope); ok && one&(carried[name]|platformScopes) == 0 {
				c.warnf(indexPath(memberPath("services", name)+".scopes", i), "idle_scope",
					"No edge from %s carries %s, so it can be used nowhere.", name, scope)
			}
		}
	}
}

// isolated warns of services that nobody may call and that may call nobody. What holds only scopes that
// the platform's own endpoints ask for is complete without.
func (c *checker) isolated(p pairs) {
	joined := make(map[string]bool)
	for ends, refs := range p.refs {
		if slices.ContainsFunc(refs, func(r edgeRef) bool { return !r.edge.denies() && r.envs != 0 }) {
			joined[ends[0]], joined[ends[1]] = true, true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.doc.Services)) {
		grant := scopeSet(c.doc.Services[name].Scopes)
		if !joined[name] && (grant == 0 || grant&^platformScopes != 0) {
			c.warnf(memberPath("services", name), "isolated_service",
				"No edge lets anybody call this service, and none lets it call anybody.")
		}
	}
}

// company warns of services whose instances could take ids that read like those of another service's:
// an instance of api may be called api-gateway-001, and so may one of api-gateway.
func (c *checker) company() {
	for _, name := range slices.Sorted(maps.Keys(c.doc.Services)) {
		alias := implicitAlias(name)
		for i := range len(alias) {
			if alias[i] != '-' {
				continue
			}
			if other, ok := c.names[alias[:i]]; ok && other != name && implicitAlias(other) == alias[:i] {
				c.warnf(memberPath("services", name), "alias_prefix",
					"Ids of instances of %s can read like ids of this service's.", other)
			}
		}
	}
}
