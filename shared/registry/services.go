package registry

import (
	"github.com/isectech/service-networking/shared/auth"
)

// service is what a snapshot holds of one service as a whole.
type service struct {
	pools [environmentCount]*pool
}

// services is an immutable map of services by name. They are found by the hash that a name in force has been given
// once, and their names are compared by where they lie in memory before their letters are, so that who knows a
// service is found without its name being read.
type services struct{ trie[service] }

// hashOfService is where a service is found.
func hashOfService(name string) uint64 {
	subject, err := auth.ParseSubject(name)
	if err != nil {
		return hashOf(name)
	}
	return subject.Hash()
}

func (t *services) get(name string) (service, bool) { return t.find(hashOfService(name), name) }

// of returns the service of a name in force, or nil.
func (t *services) of(subject auth.Subject) *service { return t.at(subject.Hash(), subject.String()) }

func (t services) with(name string, s service) services {
	return services{t.put(hashOfService(name), name, s)}
}

func (t services) without(name string) services { return services{t.drop(hashOfService(name), name)} }
