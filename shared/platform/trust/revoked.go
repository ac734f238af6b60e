package trust

import (
	"maps"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/store"
)

// revoked is all that is revoked and quarantined at one moment. It is immutable: next makes another.
//
// Tokens may be many, and the copy of a large map is slow. So they lie in two maps: additions copy only the
// small one, which joins the large one when it has grown.
type revoked struct {
	tokens      map[string]int64 // jti → when its revocation is not needed any more, in Unix seconds
	recent      map[string]int64 // likewise
	subjects    map[auth.Subject]subjectRevocation
	keys        map[string]end // by kid
	apiKeys     map[apiKey]end
	serials     map[string]end
	quarantines map[auth.Subject]Quarantine
	total       int // of all the maps
	sweptAt     time.Time
}

type (
	apiKey struct{ service, id string }

	// end is when a revocation ends, in Unix seconds; 0: never.
	end int64

	subjectRevocation struct {
		upTo int64 // the last iat that is taken back
		end  end
	}
)

// The bounds of what is remembered.
const (
	maxRecent  = 1024
	sweepEvery = time.Minute
)

// none reports whether nothing is revoked or quarantined, as on most days.
func (r *revoked) none() bool { return r == nil || r.total == 0 }

// holds reports whether anything that p rests on is revoked.
func (r *revoked) holds(p *auth.Principal) bool {
	if p.TokenID != "" {
		if r.hasToken(p.TokenID) {
			return true
		}
		if len(r.subjects) > 0 {
			if s, ok := r.subjects[p.Subject]; ok && p.IssuedAt <= s.upTo {
				return true
			}
		}
		if len(r.keys) > 0 {
			if _, ok := r.keys[p.KeyID]; ok {
				return true
			}
		}
	} else if (p.Method == auth.MethodAPIKey || p.Method == auth.MethodLegacyKey) && len(r.apiKeys) > 0 {
		if _, ok := r.apiKeys[apiKey{p.Subject.String(), p.KeyID}]; ok {
			return true
		}
	}
	if len(r.serials) > 0 {
		if p.Serial == "" { // of a certificate that a proxy does not tell it of, nobody can say that it is none of these
			return p.Method == auth.MethodMTLS
		}
		if _, ok := r.serials[p.Serial]; ok {
			return true
		}
	}
	return false
}

func (r *revoked) hasToken(id string) bool {
	if len(r.recent) > 0 {
		if _, ok := r.recent[id]; ok {
			return true
		}
	}
	if len(r.tokens) == 0 {
		return false
	}
	_, ok := r.tokens[id]
	return ok
}

// next returns what r is after documents of both collections have changed. What has ended by itself leaves
// with it, now and then.
func (r *revoked) next(docs []store.Document, now time.Time) (*revoked, error) {
	due := now.Sub(r.sweptAt) >= sweepEvery && r.total > 0
	if len(docs) == 0 && !due {
		return r, nil
	}
	n := *r
	n.recent, n.subjects, n.keys = clone(r.recent), clone(r.subjects), clone(r.keys)
	n.apiKeys, n.serials, n.quarantines = clone(r.apiKeys), clone(r.serials), clone(r.quarantines)
	for _, doc := range docs {
		var err error
		if doc.Ref.Collection == store.Quarantines {
			err = n.quarantine(doc, now)
		} else {
			err = n.revoke(doc, now)
		}
		if err != nil {
			return nil, err
		}
		if len(n.recent) >= maxRecent {
			n.merge(now)
		}
	}
	if due {
		n.sweep(now)
	}
	n.total = len(n.tokens) + len(n.recent) + len(n.subjects) + len(n.keys) + len(n.apiKeys) + len(n.serials) + len(n.quarantines)
	return &n, nil
}

// clone copies a map, and makes one where there is none.
func clone[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return make(map[K]V)
	}
	return maps.Clone(m)
}

// revoke takes in one document. A revocation is never taken back: its document ends, and what it was about
// has ended before.
func (r *revoked) revoke(doc store.Document, now time.Time) error {
	if !doc.Live(now) {
		return nil
	}
	var rev Revocation
	if err := doc.Decode(&rev); err != nil {
		return err
	}
	var until end
	if !doc.ExpiresAt.IsZero() {
		until = end(doc.ExpiresAt.Unix())
	}
	switch rev.Kind {
	case RevokedToken:
		if _, ok := r.tokens[rev.Value]; !ok {
			r.recent[rev.Value] = int64(until)
		}
	case RevokedSubject:
		subject, err := auth.ParseSubject(rev.Value)
		if err != nil {
			return &store.CorruptError{Ref: doc.Ref, Err: err}
		}
		r.subjects[subject] = subjectRevocation{rev.RevokedAt.Unix(), until}
	case RevokedKey:
		r.keys[rev.Value] = until
	case RevokedAPIKey:
		r.apiKeys[apiKey{rev.Service, rev.Value}] = until
	case RevokedSerial:
		r.serials[rev.Value] = until
	} // what a later version revokes, its own instances judge
	return nil
}

func (r *revoked) quarantine(doc store.Document, now time.Time) error {
	service, err := auth.ParseSubject(doc.Ref.ID)
	if err != nil {
		return &store.CorruptError{Ref: doc.Ref, Err: err}
	}
	if !doc.Live(now) {
		delete(r.quarantines, service)
		return nil
	}
	q := Quarantine{Service: service, ExpiresAt: doc.ExpiresAt}
	if err := doc.Decode(&q); err != nil {
		return err
	}
	r.quarantines[service] = q
	return nil
}

// merge moves the recent tokens to the others, and lets go of those that have expired.
func (r *revoked) merge(now time.Time) {
	all := make(map[string]int64, len(r.tokens)+len(r.recent))
	for _, part := range []map[string]int64{r.tokens, r.recent} {
		for id, until := range part {
			if until == 0 || until >= now.Unix() {
				all[id] = until
			}
		}
	}
	r.tokens, r.recent = all, make(map[string]int64)
}

// sweep lets go of all that has ended.
func (r *revoked) sweep(now time.Time) {
	r.sweptAt = now
	r.merge(now)
	over := func(e end) bool { return e != 0 && int64(e) < now.Unix() }
	maps.DeleteFunc(r.subjects, func(_ auth.Subject, s subjectRevocation) bool { return over(s.end) })
	maps.DeleteFunc(r.keys, func(_ string, e end) bool { return over(e) })
	maps.DeleteFunc(r.apiKeys, func(_ apiKey, e end) bool { return over(e) })
	maps.DeleteFunc(r.serials, func(_ string, e end) bool { return over(e) })
	maps.DeleteFunc(r.quarantines, func(_ auth.Subject, q Quarantine) bool { return !q.inForce(now) })
}
