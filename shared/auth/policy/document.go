// Package policy is the trust matrix: which services there are, what each may be granted, which may call
// which, and who operates the platform.
//
// A Document is what people write and the store keeps. Parse reads it strictly and says everything that
// is wrong with it; Compile turns a faultless one into a Policy, which never changes and answers the one
// question of every request (Decide) in the time of a map lookup. Explain gives the same answer with the
// rules it came from.
//
// The words of the model:
//
//   - What no edge allows is denied. A service does not even trust itself unless an edge says so.
//   - An edge allows a caller to reach a target, in the environments that both are in. It may be narrowed
//     to environments, methods, path prefixes and scopes.
//   - Several edges between the same two services add up, in any order: a request may use a scope when
//     some edge that covers the request carries it. Adding an edge changes the answer for that caller,
//     target, method, path and scope alone.
//   - A deny edge takes away what it covers, whatever allows it. Without scopes it closes the way; with
//     scopes it withholds those scopes and leaves the way open for the others.
//   - Where it is uncertain whether a request is covered (no method or path is known, or the path can be
//     read in two ways), allow edges do not cover it and deny edges do.
//   - An edge may have a rate of its own. Of the edges that cover a request the smallest rate holds, in place
//     of the caller's; a caller without one keeps within what the platform allows everybody.
//   - A credential is an upper bound. What it carries is cut down to what the policy in force grants, so
//     that a withdrawn grant is lost at once and not when the last token expires. The reverse does not
//     hold: a new grant reaches only tokens issued after it.
package policy

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
)

// The bounds of a document. They keep its checking, its storing and every decision cheap.
const (
	MaxDocumentBytes = 1 << 20
	MaxServices      = 20_000
	MaxEdges         = 200_000 // caller-target pairs after every list of targets is spread out

	maxOperators       = 1_000
	maxServiceAccounts = 20_000
	maxAliases         = 16  // of a service
	maxMethods         = 16  // of an edge
	maxPathPrefixes    = 16  // of an edge
	maxPathPrefixBytes = 256 // of a path prefix
	maxParallelEdges   = 32  // between the same two services
	maxDescription     = 256 // bytes
)

// ErrInvalid is wrapped by the errors about a document that cannot be used.
var ErrInvalid = errors.New("invalid policy")

// Document is the policy as it is written and stored. Its version is that of the stored document and is
// not part of it.
type Document struct {
	Services        map[string]ServiceEntry `json:"services"`         // by service name
	Edges           []Edge                  `json:"edges"`            // in any order
	Operators       map[string]Operator     `json:"operators"`        // by e-mail address
	ServiceAccounts map[string]Account      `json:"service_accounts"` // by e-mail address
}

// ServiceEntry makes a service known.
type ServiceEntry struct {
	Aliases      []string `json:"aliases,omitempty"`      // beside the name without isectech-, which is always one
	Environments []string `json:"environments,omitempty"` // where it runs; at least one
	Scopes       []string `json:"scopes,omitempty"`       // what it may be granted
	Description  string   `json:"description,omitempty"`  // for people

	// RateLimit holds for everything that the service asks, but for what an edge has a rate for; nil
	// leaves it to the platform.
	RateLimit *RateLimit `json:"rate_limit,omitempty"`
}

// Effect is what an edge does to the requests it covers.
type Effect string

// The effects there are.
const (
	Allow Effect = "allow" // also when the field is left out
	Deny  Effect = "deny"
)

// Edge says whether a caller may reach a target. An empty list does not narrow it.
type Edge struct {
	Caller       string   `json:"caller"`                  // a service name
	Target       string   `json:"target,omitempty"`        // a service name; either this or Targets
	Targets      []string `json:"targets,omitempty"`       // the same edge to several services
	Effect       Effect   `json:"effect,omitempty"`        // allow unless said
	Environments []string `json:"environments,omitempty"`  // of those that both services are in
	Methods      []string `json:"methods,omitempty"`       // HTTP methods; GET does not include HEAD
	PathPrefixes []string `json:"path_prefixes,omitempty"` // /api covers /api and /api/x, not /apix
	Scopes       []string `json:"scopes,omitempty"`        // of those that the caller may be granted

	// RateLimit holds, of an allow edge, for the requests that it covers in place of the caller's own. The
	// smallest one holds where several edges cover a request.
	RateLimit *RateLimit `json:"rate_limit,omitempty"`
}

// Operator is a person or a pipeline that may address the platform, and nothing else.
type Operator struct {
	Scopes    []string   `json:"scopes,omitempty"`
	RateLimit *RateLimit `json:"rate_limit,omitempty"`
}

// Account maps a Google service account to the one service that runs as it.
type Account struct {
	Service     string `json:"service"`
	Environment string `json:"environment"`
}

// denies reports whether the edge takes away rather than gives.
func (e *Edge) denies() bool { return e.Effect == Deny }

// targets lists the edge's targets in whichever field they stand.
func (e *Edge) targets() []string {
	if len(e.Targets) > 0 {
		return e.Targets
	}
	return []string{e.Target}
}

// targetPath names the field that holds the i-th of targets, for findings.
func (e *Edge) targetPath(path string, i int) string {
	if len(e.Targets) > 0 {
		return indexPath(path+".targets", i)
	}
	return path + ".target"
}

// rulePath names the edge to the i-th of targets, for explanations.
func (e *Edge) rulePath(path string, i int) string {
	if len(e.Targets) > 0 {
		return e.targetPath(path, i)
	}
	return path
}

// MarshalJSON writes the document in its one canonical form: names sorted, lists that are sets sorted,
// the default effect left out, and all four parts present. Edges keep their order, by which findings and
// explanations name them.
func (d Document) MarshalJSON() ([]byte, error) {
	type plain Document
	return json.Marshal(plain(d.normal()))
}

// UnmarshalJSON reads the form of a document as strictly as Parse does. It does not check the meaning;
// Compile does.
func (d *Document) UnmarshalJSON(data []byte) error {
	doc, found := decode(data)
	if err := found.err(); err != nil {
		return err
	}
	*d = *doc
	return nil
}

// normal returns a copy in canonical form that shares nothing with d.
func (d Document) normal() Document {
	n := Document{
		Services:        make(map[string]ServiceEntry, len(d.Services)),
		Edges:           make([]Edge, 0, len(d.Edges)),
		Operators:       make(map[string]Operator, len(d.Operators)),
		ServiceAccounts: make(map[string]Account, len(d.ServiceAccounts)),
	}
	for name, s := range d.Services {
		s.Aliases, s.Environments, s.Scopes = sorted(s.Aliases), sorted(s.Environments), sorted(s.Scopes)
		s.RateLimit = s.RateLimit.clone()
		n.Services[name] = s
	}
	for _, e := range d.Edges {
		if e.Effect == Allow {
			e.Effect = ""
		}
		e.Targets, e.Environments, e.Methods = sorted(e.Targets), sorted(e.Environments), sorted(e.Methods)
		e.PathPrefixes, e.Scopes = sorted(e.PathPrefixes), sorted(e.Scopes)
		e.RateLimit = e.RateLimit.clone()
		n.Edges = append(n.Edges, e)
	}
	for mail, o := range d.Operators {
		n.Operators[mail] = Operator{Scopes: sorted(o.Scopes), RateLimit: o.RateLimit.clone()}
	}
	for mail, a := range d.ServiceAccounts {
		n.ServiceAccounts[mail] = a
	}
	return n
}

func sorted(set []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(set)))
}

// Clone returns a copy that shares nothing with d, for changing.
func (d *Document) Clone() *Document {
	n := d.normal()
	return &n
}

// operatorPrefix makes an operator's subject of its e-mail address.
const operatorPrefix = "operator:"

// implicitAlias is the name that every service answers to beside its own: the name without isectech-.
func implicitAlias(name string) string { return strings.TrimPrefix(name, auth.ServicePrefix) }
