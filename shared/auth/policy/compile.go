package policy

import (
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
	callers  table[caller]
	edges    table[edge]
	rules    []rule // what the edges are made from
	services map[auth.Subject]Service
	sorted   []auth.Subject          // of the services
	names    map[string]auth.Subject // every name and alias of a service
	mails    map[string]account      // of operators and service accounts
}

// caller is what a decision needs of a service or operator.
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

// caller returns what is known of a service or operator; of nobody, that it may do nothing.
func (p *Policy) caller(sub auth.Subject) caller {
	if c := p.callers.get(pair{caller: sub}); c != nil {
		return *c
	}
	return caller{}
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
		callers:  newTable[caller](len(doc.Services) + len(doc.Operators)),
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
		*p.callers.put(pair{caller: sub}) = caller{grant: scopes, operator: true, limit: operator.RateLimit.limit(auth.Subject{})}
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
	*p.callers.put(pair{caller: sub}) = caller{grant: grant, envs: envs, limit: entry.RateLimit.limit(auth.Subject{})}
	p.services[sub] = Service{
		Subject: sub, Grant: grant, Environments: envs.list(), Aliases: aliases, Description: entry.Description,
	}
	p.names[sub.String()] = sub
	for _, alias := range aliases {
		p.names[alias] = sub
	}
}

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
	return p.caller(sub).grantIn(env)
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
