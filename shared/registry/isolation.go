package registry

import "time"

// Isolation says which services are in quarantine. Their instances are shown as quarantined and discovered by
// nobody, whatever their records say, which stay as they are.
type Isolation interface {
	// Isolated returns since when a service is in quarantine; ok is false for one that is not.
	Isolated(service string) (since time.Time, ok bool)
}

func (v View) isolated(service string) (since time.Time, ok bool) {
	if v.isolation == nil {
		return time.Time{}, false
	}
	return v.isolation.Isolated(service)
}

// status returns the status that readers see.
func (v View) status(e *entry) Status {
	if _, ok := v.isolated(e.ServiceName); ok {
		return Quarantined
	}
	return e.Status
}

// instance returns what readers see of an instance.
func (v View) instance(e *entry) Instance {
	i := e.instance(v.now)
	if since, ok := v.isolated(e.ServiceName); ok && i.Status != Quarantined {
		i.Status, i.StatusSince = Quarantined, since
	}
	return i
}
