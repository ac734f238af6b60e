// Package clouddnstest answers the part of Cloud DNS's API that package clouddns uses, by Cloud DNS's rules: a change
// is made whole or not at all, deletes only what stands there exactly so, and adds only what does not.
package clouddnstest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/api/dns/v1"

	"github.com/isectech/service-networking/shared/registry/zone"
)

// The project and managed zone that a Server has.
const (
	Project = "project"
	Zone    = "internal"
)

const pageSize = 3 // small, so that every reading takes several

// Server is a zone.
type Server struct {
	Address string // host:port
	Close   func()

	mu      sync.Mutex
	sets    map[zone.Key]*dns.ResourceRecordSet
	changes []Change
	fail    []int  // statuses of the next requests, 0 for none
	before  func() // called before the next change, which it may forestall
}

// Change is a change that was made.
type Change struct{ Deletions, Additions []zone.Set }

// New starts a zone that holds its SOA record alone, until it is closed.
func New() *Server {
	s := &Server{sets: make(map[zone.Key]*dns.ResourceRecordSet)}
	s.put(&dns.ResourceRecordSet{Name: zone.Domain, Type: "SOA", Ttl: 300, Rrdatas: []string{"ns. hostmaster. 1 2 3 4 5"}})
	mux := http.NewServeMux()
	const base = "/dns/v1/projects/" + Project + "/managedZones/" + Zone
	mux.HandleFunc("GET "+base+"/rrsets", s.failing(s.list))
	mux.HandleFunc("POST "+base+"/changes", s.failing(s.change))
	server := httptest.NewServer(mux)
	s.Close = server.Close
	s.Address = strings.TrimPrefix(server.URL, "http://")
	return s
}

func keyOf(r *dns.ResourceRecordSet) zone.Key { return zone.Key{Name: r.Name, Type: r.Type} }

func (s *Server) put(r *dns.ResourceRecordSet) { s.sets[keyOf(r)] = r }

// Put makes a set, as somebody else does.
func (s *Server) Put(set zone.Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(&dns.ResourceRecordSet{Name: set.Name, Type: set.Type, Ttl: set.TTL, Rrdatas: set.Data})
}

// Fail answers the next requests by these statuses; 0 lets one through.
func (s *Server) Fail(statuses ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = append(s.fail, statuses...)
}

// BeforeNext calls f before the next change.
func (s *Server) BeforeNext(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// Sets returns what the zone holds but its SOA record, by name and type.
func (s *Server) Sets() []zone.Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []zone.Set
	for _, r := range s.sorted() {
		if r.Type != "SOA" {
			all = append(all, setOf(r))
		}
	}
	return all
}

// Data returns the records of a set.
func (s *Server) Data(name, kind string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.sets[zone.Key{Name: name, Type: kind}]; ok {
		return r.Rrdatas
	}
	return nil
}

// Changes returns the changes made through the API.
func (s *Server) Changes() []Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.changes)
}

func setOf(r *dns.ResourceRecordSet) zone.Set {
	return zone.Set{Key: keyOf(r), TTL: r.Ttl, Data: r.Rrdatas}
}

func (s *Server) sorted() []*dns.ResourceRecordSet {
	var all []*dns.ResourceRecordSet
	for _, r := range s.sets {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *dns.ResourceRecordSet) int {
		return strings.Compare(a.Name+" "+a.Type, b.Name+" "+b.Type)
	})
	return all
}

func (s *Server) failing(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		status := 0
		if len(s.fail) > 0 {
			status, s.fail = s.fail[0], s.fail[1:]
		}
		s.mu.Unlock()
		if status != 0 {
			refuse(w, status, "injected", "as told")
			return
		}
		next(w, r)
	}
}

var suffix = regexp.MustCompile(`^name=has_suffix\("([a-z0-9.-]+)"\)$`)

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	query := r.URL.Query()
	end := ""
	if filter := query.Get("filter"); filter != "" {
		match := suffix.FindStringSubmatch(filter)
		if match == nil {
			refuse(w, http.StatusBadRequest, "invalid", "filter "+filter)
			return
		}
		end = match[1]
	}
	var matching []*dns.ResourceRecordSet
	for _, set := range s.sorted() {
		if strings.HasSuffix(set.Name, end) {
			matching = append(matching, set)
		}
	}
	from, _ := strconv.Atoi(query.Get("pageToken"))
	from = min(max(from, 0), len(matching))
	to := min(from+pageSize, len(matching))
	answer := dns.ResourceRecordSetsListResponse{Rrsets: matching[from:to]}
	if to < len(matching) {
		answer.NextPageToken = strconv.Itoa(to)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (s *Server) change(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	before := s.before
	s.before = nil
	s.mu.Unlock()
	if before != nil {
		before()
	}
	var change dns.Change
	if err := json.NewDecoder(r.Body).Decode(&change); err != nil {
		refuse(w, http.StatusBadRequest, "parseError", err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	status, reason := s.judge(&change)
	if status != 0 {
		refuse(w, status, reason, "the change is refused")
		return
	}
	var made Change
	for _, d := range change.Deletions {
		delete(s.sets, keyOf(d))
		made.Deletions = append(made.Deletions, setOf(d))
	}
	for _, a := range change.Additions {
		s.put(a)
		made.Additions = append(made.Additions, setOf(a))
	}
	s.changes = append(s.changes, made)
	change.Id, change.Status = strconv.Itoa(len(s.changes)), "pending"
	_ = json.NewEncoder(w).Encode(change)
}

// judge holds a change to Cloud DNS's rules; status 0 lets it pass.
func (s *Server) judge(c *dns.Change) (status int, reason string) {
	if len(c.Additions)+len(c.Deletions) == 0 {
		return http.StatusBadRequest, "required"
	}
	if len(c.Additions) > 1000 || len(c.Deletions) > 1000 {
		return http.StatusForbidden, "quotaExceeded"
	}
	gone := make(map[zone.Key]bool)
	for _, d := range c.Deletions {
		is, ok := s.sets[keyOf(d)]
		if !ok || gone[keyOf(d)] {
			return http.StatusNotFound, "notFound"
		}
		if is.Ttl != d.Ttl || !slices.Equal(is.Rrdatas, d.Rrdatas) {
			return http.StatusPreconditionFailed, "conditionNotMet"
		}
		gone[keyOf(d)] = true
	}
	made := make(map[zone.Key]bool)
	for _, a := range c.Additions {
		k := keyOf(a)
		if _, ok := s.sets[k]; ok && !gone[k] || made[k] {
			return http.StatusConflict, "alreadyExists"
		}
		if !strings.HasSuffix(a.Name, "."+zone.Domain) || len(a.Rrdatas) == 0 || len(a.Rrdatas) > 100 || a.Ttl < 0 {
			return http.StatusBadRequest, "invalid"
		}
		if alias := (zone.Key{Name: a.Name, Type: "CNAME"}); s.sets[alias] != nil && !gone[alias] {
			return http.StatusBadRequest, "cnameResourceRecordSetConflict"
		}
		made[k] = true
	}
	return 0, ""
}

func refuse(w http.ResponseWriter, status int, reason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
		"code": status, "message": message, "errors": []map[string]string{{"reason": reason, "message": message}},
	}})
}
