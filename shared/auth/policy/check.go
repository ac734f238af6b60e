package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
)

// Check returns everything there is to say about the document, in the order of the paths: errors, which
// keep it from being compiled, and warnings about what can hardly be meant.
func (d *Document) Check() []Finding {
	found := new(findings)
	check(d, found)
	return found.all()
}

// check adds what is wrong with the meaning of a document to what is wrong with its form.
func check(d *Document, found *findings) {
	c := &checker{findings: found, doc: d, names: make(map[string]string, 2*len(d.Services))}
	if !c.bounded() {
		return
	}
	c.services()
	c.operators()
	c.serviceAccounts()
	c.edges()
	c.company()
}

// checker holds what the checks share.
type checker struct {
	*findings
	doc   *Document
	names map[string]string // every name and alias → the service it stands for
}

// bounded refuses what is too large to be looked at more closely.
func (c *checker) bounded() bool {
	edges := 0
	for i := range c.doc.Edges {
		edges += len(c.doc.Edges[i].targets())
	}
	before := c.errs
	limit := func(path, what string, n, most int) {
		if n > most {
			c.errorf(path, "too_many", "There are %d %s; at most %d are allowed.", n, what, most)
		}
	}
	limit("services", "services", len(c.doc.Services), MaxServices)
	limit("edges", "edges", edges, MaxEdges)
	limit("operators", "operators", len(c.doc.Operators), maxOperators)
	limit("service_accounts", "service accounts", len(c.doc.ServiceAccounts), maxServiceAccounts)
	return c.errs == before
}

// services checks the services one by one, and that every name and alias stands for one of them.
func (c *checker) services() {
	if len(c.doc.Services) == 0 {
		c.warnf("services", "no_service", "This policy knows no service: whatever a service asks is refused.")
	}
	names := slices.Sorted(maps.Keys(c.doc.Services))
	for _, name := range names {
		c.serviceName(name)
		c.names[name] = name
	}
	for _, name := range names {
		path := memberPath("services", name)
		c.claim(path, "implicit_alias_clash", implicitAlias(name), name)
	}
	for _, name := range names {
		s, path := c.doc.Services[name], memberPath("services", name)
		c.atMost(path+".aliases", len(s.Aliases), maxAliases)
		c.eachOnce(path+".aliases", s.Aliases, func(path, alias string) {
			switch {
			case !auth.ValidID(alias):
				c.errorf(path, "alias_form", "An alias consists of 1 to 63 lower-case letters, digits and hyphens.")
			case reserved(alias):
				c.errorf(path, "reserved_name", "The name %s belongs to the platform itself.", alias)
			case alias == name || alias == implicitAlias(name):
				c.warnf(path, "needless_alias", "The service answers to %s without this alias.", alias)
			default:
				c.claim(path, "alias_clash", alias, name)
			}
		})
		if len(s.Environments) == 0 {
			c.errorf(path+".environments", "no_environment", "Name at least one environment that the service is in.")
		}
		c.environments(path+".environments", s.Environments)
		c.scopes(path+".scopes", s.Scopes, func(path string, scope auth.Scopes) {
			if scope&(auth.AdminRead|auth.AdminWrite) != 0 {
				c.errorf(path, "admin_scope", "No service holds an admin scope; operators do.")
			}
		})
		if len(s.Description) > maxDescription || strings.ContainsFunc(s.Description, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			c.errorf(path+".description", "description_form",
				"A description is one line of at most %d bytes.", maxDescription)
		}
		c.rate(path+".rate_limit", s.RateLimit)
	}
}

func (c *checker) serviceName(name string) {
	path := memberPath("services", name)
	switch {
	case reserved(name) || reserved(implicitAlias(name)):
		c.errorf(path, "reserved_name", "The name %s belongs to the platform itself.", choose(reserved(name), name, implicitAlias(name)))
	case strings.HasPrefix(name, operatorPrefix):
		c.errorf(path, "operator_as_service", "Operators are people and pipelines, not services: they stand under operators.")
	case !auth.ValidID(name) || !auth.ValidID(implicitAlias(name)):
		c.errorf(path, "name_form",
			"A service name consists of 1 to 63 lower-case letters, digits and hyphens, and is more than its prefix.")
	}
}

// reserved reports whether a name would be taken for the platform.
func reserved(name string) bool {
	return name == auth.PlatformAudience || name == implicitAlias(auth.PlatformAudience)
}

// claim makes a name stand for a service, unless it stands for another one already.
func (c *checker) claim(path, code, name, service string) {
	switch other, taken := c.names[name]; {
	case !taken:
		c.names[name] = service
	case other != service:
		c.errorf(path, code, "The name %s, which would stand for this service, stands for %s already.",
			quote(name), quote(other))
	}
}

func (c *checker) operators() {
	admins := 0
	for _, mail := range slices.Sorted(maps.Keys(c.doc.Operators)) {
		path := memberPath("operators", mail)
		c.mail(path, mail)
		scopes := c.doc.Operators[mail].Scopes
		if len(scopes) == 0 {
			c.warnf(path+".scopes", "no_scope", "This operator may not do anything.")
		}
		c.scopes(path+".scopes", scopes, func(path string, scope auth.Scopes) {
			switch {
			case scope&(auth.APIRead|auth.APIWrite) != 0:
				c.warnf(path, "useless_scope", "Operators address the platform alone, where %s opens nothing.", scope)
			case scope == auth.AdminWrite:
				admins++
			}
		})
		c.rate(path+".rate_limit", c.doc.Operators[mail].RateLimit)
	}
	if admins == 0 {
		c.warnf("operators", "no_administrator", "No operator holds admin:write: nobody could change this policy again.")
	}
}

func (c *checker) serviceAccounts() {
	for _, mail := range slices.Sorted(maps.Keys(c.doc.ServiceAccounts)) {
		path, a := memberPath("service_accounts", mail), c.doc.ServiceAccounts[mail]
		c.mail(path, mail)
		if _, both := c.doc.Operators[mail]; both {
			c.errorf(path, "ambiguous_account", "This address is an operator's as well; it can stand for one subject only.")
		}
		if !strings.HasSuffix(mail, ".gserviceaccount.com") {
			c.warnf(path, "not_a_service_account", "Addresses of service accounts end in .gserviceaccount.com.")
		}
		known := c.service(path+".service", a.Service)
		if c.environment(path+".environment", a.Environment) && known &&
			!slices.Contains(c.doc.Services[a.Service].Environments, a.Environment) {
			c.errorf(path+".environment", "foreign_environment", "%s is not in %s.", a.Service, a.Environment)
		}
	}
}

func (c *checker) mail(path, mail string) {
	if _, err := auth.ParseSubject(operatorPrefix + mail); err != nil {
		c.errorf(path, "mail_form", "An e-mail address is written in lower case, local@domain, without quotes or spaces.")
	}
}

// service checks that a reference is the very name of a service.
func (c *checker) service(path, name string) bool {
	if _, ok := c.doc.Services[name]; ok {
		return true
	}
	switch other, alias := c.names[name]; {
	case alias:
		c.errorf(path, "unknown_service", "Use the name of the service, %s, rather than an alias.", quote(other))
	case name == "":
		c.errorf(path, "missing", "Name a service here.")
	case name == auth.PlatformAudience:
		c.errorf(path, "platform_as_service", "Every service and operator may address the platform; this takes no edge.")
	case strings.HasPrefix(name, operatorPrefix):
		c.errorf(path, "operator_as_service", "Operators address the platform alone; they have no edges.")
	default:
		c.errorf(path, "unknown_service", "There is no service %s in this policy.", quote(name))
	}
	return false
}

func (c *checker) environments(path string, names []string) {
	c.eachOnce(path, names, func(path, name string) { c.environment(path, name) })
}

func (c *checker) environment(path, name string) bool {
	_, err := auth.ParseEnvironment(name)
	if err != nil {
		c.errorf(path, "unknown_environment", "An environment is production, staging or development.")
	}
	return err == nil
}

func (c *checker) scopes(path string, names []string, each func(path string, scope auth.Scopes)) {
	c.eachOnce(path, names, func(path, name string) {
		scope, ok := auth.ParseScope(name)
		if !ok {
			c.errorf(path, "unknown_scope", "The scopes are %s.", strings.Join(auth.AllScopes.Names(), ", "))
			return
		}
		each(path, scope)
	})
}

// eachOnce calls check for every element of a list, and says of repeated ones that they are.
func (c *checker) eachOnce(path string, list []string, check func(path, element string)) {
	seen := make(map[string]struct{}, len(list))
	for i, element := range list {
		if _, again := seen[element]; again {
			c.errorf(indexPath(path, i), "repeated", "%s stands in this list twice.", quote(element))
			continue
		}
		seen[element] = struct{}{}
		check(indexPath(path, i), element)
	}
}

func (c *checker) atMost(path string, n, most int) {
	if n > most {
		c.errorf(path, "too_many", "This list has %d entries; at most %d are allowed.", n, most)
	}
}
