package policy

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
)

// platform is the subject that stands for the platform's own endpoints as a target.
var platform = auth.MustSubject(auth.PlatformAudience)

// Platform returns the target that stands for the platform's own endpoints. It is no service: Resolve does
// not know it, and no edge can name it.
func Platform() auth.Subject { return platform }

// Policy is a compiled document. It never changes and is safe for concurrent use.
type Policy struct {
	version  int64
	callers  map[auth.Subject]caller
	edges    map[pair]edge
	rules    []rule // those of a pair lie together; edge says where
	services map[auth.Subject]Service
	sorted   []auth.Subject          // of the services
	names    map[string]auth.Subject // every name and alias of a service
	mails    map[string]account      // of operators and service accounts
}

// caller is what a decision needs of a service or operator by itself.
type caller struct {
	grant    auth.Scopes
	envs     environments
	operator bool
	limit    *Limit // its own; nil: what the platform says
}

// grantIn returns what a caller may be granted in an environment. Operators act in all of them.
func (c caller) grantIn(env auth.Environment) auth.Scopes {
	if !c.in(env) {
		return 0
	}
	return c.grant
}

func (c caller) in(env auth.Environment) bool { return c.operator || c.envs.has(env) }

// pair keys the edges; a decision about two services that have one needs no other lookup.
type pair struct{ caller, target auth.Subject }

// edge is the outcome of all rules of a pair. Where none of them depends on the method or path, it is
// worked out for each environment beforehand.
type edge struct {
	open        environments
	scopes      [numEnvironments]auth.Scopes
	limits      [numEnvironments]*Limit
	own         *Limit // the caller's
	conditional bool
	first, last uint32 // its rules are Policy.rules[first:last]
}

// account is what an e-mail address stands for.
type account struct {
	subject auth.Subject
	env     auth.Environment
	scopes  auth.Scopes // of an operator
}

// Service is a service as the policy knows it.
type Service struct {
	Subject      auth.Subject
	Grant        auth.Scopes
	Environments []auth.Environment
	Aliases      []string // every other name that resolves to it, the one without isectech- first
	Description  string
}

// Compile checks a document and makes the policy that it says, with the version of the stored document.
// A document with an error among its findings is refused with ErrInvalid.
func Compile(doc *Document, version int64) (*Policy, error) {
	found := new(findings)
	check(doc, found)
	if err := found.err(); err != nil {
		return nil, err
	}
	p := &Policy{
		version:  version,
		callers:  make(map[auth.Subject]caller, len(doc.Services)+len(doc.Operators)),
		services: make(map[auth.Subject]Service, len(doc.Services)),
		names:    make(map[string]auth.Subject, 2*len(doc.Services)),
		mails:    make(map[string]account, len(doc.Operators)+len(doc.ServiceAccounts)),
	}
	for name, entry := range doc.Services {
		p.addService(auth.MustSubject(name), entry)
	}
	p.sorted = slices.SortedFunc(maps.Keys(p.services), func(a, b auth.Subject) int {
		return strings.Compare(a.String(), b.String())
	})
	for mail, operator := range doc.Operators {
		sub := auth.MustSubject(operatorPrefix + mail)
		scopes := scopeSet(operator.Scopes)
		p.callers[sub] = caller{grant: scopes, operator: true, limit: operator.RateLimit.limit(auth.Subject{})}
		p.mails[mail] = account{subject: sub, scopes: scopes}
	}
	for mail, a := range doc.ServiceAccounts {
		p.mails[mail] = account{subject: auth.MustSubject(a.Service), env: auth.Environment(a.Environment)}
	}
	p.addEdges(doc.Edges)
	return p, nil
}

func (p *Policy) addService(sub auth.Subject, entry ServiceEntry) {
	envs := environmentSet(entry.Environments)
	grant := scopeSet(entry.Scopes)
	aliases := slices.DeleteFunc(append([]string{sub.Alias()}, entry.Aliases...), func(alias string) bool {
		return alias == sub.String()
	})
	p.callers[sub] = caller{grant: grant, envs: envs, limit: entry.RateLimit.limit(auth.Subject{})}
	p.services[sub] = Service{
		Subject: sub, Grant: grant, Environments: envs.list(), Aliases: aliases, Description: entry.Description,
	}
	p.names[sub.String()] = sub
	for _, alias := range aliases {
		p.names[alias] = sub
	}
}

// addEdges spreads the edges out into rules, lays those of a pair side by side and works out what can be.
func (p *Policy) addEdges(edges []Edge) {
	byPair := make(map[pair][]rule)
	for i := range edges {
		e := &edges[i]
		methods, prefixes := slices.Clone(e.Methods), slices.Clone(e.PathPrefixes)
		for j, target := range e.targets() {
			key := pair{auth.MustSubject(e.Caller), auth.MustSubject(target)}
			from, to := p.callers[key.caller], p.callers[key.target]
			r := rule{
				path:     e.rulePath(indexPath("edges", i), j),
				deny:     e.denies(),
				envs:     from.envs & to.envs,
				methods:  methods,
				prefixes: prefixes,
				scopes:   scopeSet(e.Scopes),
				limit:    e.RateLimit.limit(key.target),
			}
			if len(e.Environments) > 0 {
				r.envs &= environmentSet(e.Environments)
			}
			switch {
			case r.deny:
			case r.scopes == 0:
				r.scopes = from.grant
			default:
				r.scopes &= from.grant
			}
			byPair[key] = append(byPair[key], r)
		}
	}
	p.edges = make(map[pair]edge, len(byPair))
	for key, rules := range byPair {
		e := edge{first: p.mark(), own: p.callers[key.caller].limit, conditional: slices.ContainsFunc(rules, func(r rule) bool { return r.conditional() })}
		p.rules = append(p.rules, rules...)
		e.last = p.mark()
		if !e.conditional {
			for i, env := range auth.Environments() {
				if open, scopes, limit := judge(rules, &request{env: env}); open {
					e.open |= 1 << i
					e.scopes[i] = scopes
					e.limits[i] = cmp.Or(limit, e.own)
				}
			}
		}
		p.edges[key] = e
	}
}

// mark is the place of the next rule. MaxEdges keeps it far below the limits of its type.
func (p *Policy) mark() uint32 { return uint32(len(p.rules)) } //nolint:gosec // G115: at most MaxEdges rules

// Version returns the version that the policy was compiled with.
func (p *Policy) Version() int64 { return p.version }

// Resolve returns the service that a name or an alias stands for.
func (p *Policy) Resolve(ref string) (auth.Subject, bool) {
	sub, ok := p.names[ref]
	return sub, ok
}

// Service returns what the policy says about a service.
func (p *Policy) Service(sub auth.Subject) (Service, bool) {
	s, ok := p.services[sub]
	return s.clone(), ok
}

// Services yields all services in the order of their names.
func (p *Policy) Services() iter.Seq[Service] {
	return func(yield func(Service) bool) {
		for _, sub := range p.sorted {
			if !yield(p.services[sub].clone()) {
				return
			}
		}
	}
}

// Grant returns what a caller may be granted in an environment: nothing where it does not run. An
// operator's does not depend on the environment.
func (p *Policy) Grant(sub auth.Subject, env auth.Environment) auth.Scopes {
	return p.callers[sub].grantIn(env)
}

// Operator returns the scopes of the operator with an e-mail address.
func (p *Policy) Operator(mail string) (auth.Scopes, bool) {
	a, ok := p.mails[mail]
	if !ok || !a.subject.IsOperator() {
		return 0, false
	}
	return a.scopes, true
}

// ServiceAccount returns the service, and its environment, that a service account runs.
func (p *Policy) ServiceAccount(mail string) (auth.Subject, auth.Environment, bool) {
	a, ok := p.mails[mail]
	if !ok || a.subject.IsOperator() {
		return auth.Subject{}, "", false
	}
	return a.subject, a.env, true
}

// In reports whether the service runs in an environment.
func (s Service) In(env auth.Environment) bool { return slices.Contains(s.Environments, env) }

func (s Service) clone() Service {
	s.Environments, s.Aliases = slices.Clone(s.Environments), slices.Clone(s.Aliases)
	return s
}

// environmentSet and scopeSet read lists that have been checked.

func environmentSet(names []string) environments {
	var set environments
	for _, name := range names {
		if i, ok := environmentIndex(auth.Environment(name)); ok {
			set |= 1 << i
		}
	}
	return set
}

func scopeSet(names []string) auth.Scopes {
	var set auth.Scopes
	for _, name := range names {
		one, _ := auth.ParseScope(name)
		set |= one
	}
	return set
}
