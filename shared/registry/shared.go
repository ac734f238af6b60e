package registry

import "github.com/isectech/service-networking/shared/auth"

// sharedStrings keeps one copy of each text that many instances have in common, which saves a third of
// their memory and, for the names of endpoints, a cache miss at each pick.
type sharedStrings map[string]string

// maxShared bounds the texts remembered. Beyond it they are forgotten, and collected anew.
const maxShared = 1 << 16

func (s *sharedStrings) text(p *string) {
	if kept, ok := (*s)[*p]; ok {
		*p = kept
		return
	}
	if *s == nil || len(*s) == maxShared {
		*s = make(sharedStrings)
	}
	(*s)[*p] = *p
}

// record replaces the texts of a record that others are likely to have too.
func (s *sharedStrings) record(r *Record) {
	if subject, err := auth.ParseSubject(r.ServiceName); err == nil {
		r.ServiceName = subject.String() // by which it is looked up; see services
	}
	for _, p := range []*string{&r.Version, &r.Region} {
		s.text(p)
	}
	r.Environment = auth.Environments()[place(r.Environment)]
	r.Status = Statuses()[r.Status.ordinal()]
	for i := range r.Endpoints {
		e := &r.Endpoints[i]
		for _, p := range []*string{&e.Name, &e.Protocol, &e.Path} {
			s.text(p)
		}
		for j := range e.Methods {
			s.text(&e.Methods[j])
		}
	}
	s.text(&r.HealthCheck.Path)
	for i := range r.Tags {
		s.text(&r.Tags[i])
	}
}
