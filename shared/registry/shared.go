package registry

import (
	"maps"
	"slices"

	"github.com/isectech/service-networking/shared/auth"
)

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

// sharedLists keeps one copy of each list and map that many instances have in common: the methods of an endpoint, the
// tags and metadata of a service. They are found by hashes, so that one that nobody shares costs little.
type sharedLists struct {
	lists map[uint64][]string
	maps  map[uint64]map[string]string
}

func (s *sharedLists) list(p *[]string) {
	if len(*p) == 0 {
		return
	}
	h := uint64(len(*p))
	for _, text := range *p {
		h = h*31 + hashOf(text)
	}
	if kept, ok := s.lists[h]; ok && slices.Equal(kept, *p) {
		*p = kept
		return
	}
	if s.lists == nil || len(s.lists) == maxShared {
		s.lists = make(map[uint64][]string)
	}
	*p = slices.Clone(*p) // without the room that decoding left
	s.lists[h] = *p
}

func (s *sharedLists) texts(p *map[string]string) {
	if len(*p) == 0 {
		return
	}
	var h uint64
	for name, text := range *p {
		h += hashOf(name) * (hashOf(text) | 1)
	}
	if kept, ok := s.maps[h]; ok && maps.Equal(kept, *p) {
		*p = kept
		return
	}
	if s.maps == nil || len(s.maps) == maxShared {
		s.maps = make(map[uint64]map[string]string)
	}
	s.maps[h] = *p
}

// record replaces the texts of a record that others are likely to have too.
func (s *sharedStrings) record(r *Record, in *sharedLists) {
	if subject, err := auth.ParseSubject(r.ServiceName); err == nil {
		r.ServiceName = subject.String() // by which it is looked up; see services
	}
	for _, p := range []*string{&r.Version, &r.Region} {
		s.text(p)
	}
	r.Environment = auth.Environments()[place(r.Environment)]
	r.Status = Statuses()[r.Status.ordinal()]
	r.Endpoints = append(make([]Endpoint, 0, len(r.Endpoints)), r.Endpoints...) // without the room that decoding left
	for i := range r.Endpoints {
		e := &r.Endpoints[i]
		for _, p := range []*string{&e.Name, &e.Protocol, &e.Path} {
			s.text(p)
		}
		for j := range e.Methods {
			s.text(&e.Methods[j])
		}
		in.list(&e.Methods)
	}
	s.text(&r.HealthCheck.Path)
	for i := range r.Tags {
		s.text(&r.Tags[i])
	}
	in.list(&r.Tags)
	in.texts(&r.Metadata)
}
