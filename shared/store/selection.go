package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Selection is a valid query made ready for a back end: which documents it keeps, in which order, and
// where its page begins. It is not safe for concurrent use.
type Selection struct {
	Query Query
	Limit int // documents a page, never 0

	filters []readyFilter
	order   []string // path of OrderBy; nil for none
	after   Place
	shape   string
	dec     *jsontext.Decoder
}

type readyFilter struct {
	path []string
	op   Op
	want Scalar
}

// Place is where a document stands in a query's order.
type Place struct {
	Value Scalar // of OrderBy; the zero Scalar where there is none
	ID    string
}

// Plan validates the query, its page token included, and makes it ready.
func (q Query) Plan() (*Selection, error) {
	if err := validQuery(q); err != nil {
		return nil, err
	}
	s := &Selection{Query: q, Limit: q.Limit, dec: new(jsontext.Decoder)}
	if s.Limit == 0 {
		s.Limit = DefaultPage
	}
	if q.OrderBy != "" {
		s.order = strings.Split(q.OrderBy, ".")
	}
	for _, f := range q.Where {
		s.filters = append(s.filters, readyFilter{strings.Split(f.Field, "."), f.Op, ScalarOf(f.Value)})
	}
	shape, err := queryShape(q)
	if err != nil {
		return nil, err
	}
	s.shape = shape
	if q.PageToken != "" {
		if s.after, err = s.parseToken(q.PageToken); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Resume returns the place after which the page begins; false for the first page.
func (s *Selection) Resume() (Place, bool) { return s.after, s.after.ID != "" }

// Take returns the place of a document; false if the query leaves it out. It does not judge whether the
// document is live.
func (s *Selection) Take(d Document) (Place, bool) {
	for _, f := range s.filters {
		if !s.holds(d.Data, f) {
			return Place{}, false
		}
	}
	place := Place{ID: d.Ref.ID}
	if s.order != nil {
		place.Value = scalarOfJSON(s.lookup(d.Data, s.order))
		if !place.Value.Orders() {
			return Place{}, false
		}
	}
	return place, true
}

// Compare orders two places as the query asks.
func (s *Selection) Compare(a, b Place) int {
	c := a.Value.Compare(b.Value)
	if c == 0 {
		c = strings.Compare(a.ID, b.ID)
	}
	if s.Query.Descending {
		return -c
	}
	return c
}

func (s *Selection) holds(data json.RawMessage, f readyFilter) bool {
	raw := s.lookup(data, f.path)
	if f.op != Contains {
		return scalarOfJSON(raw).matches(f.op, f.want)
	}
	if raw.Kind() != '[' {
		return false
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(raw))
	if _, err := dec.ReadToken(); err != nil {
		return false
	}
	for dec.PeekKind() != ']' {
		element, err := dec.ReadValue()
		if err != nil {
			return false
		}
		if scalarOfJSON(element).matches(Eq, f.want) {
			return true
		}
	}
	return false
}

// lookup returns the value at a path of canonical data, or nil. Names are sorted, so it stops early.
func (s *Selection) lookup(data json.RawMessage, path []string) jsontext.Value {
	s.dec.Reset(bytes.NewBuffer(data), jsontext.AllowDuplicateNames(true))
	for _, segment := range path {
		if tok, err := s.dec.ReadToken(); err != nil || tok.Kind() != '{' {
			return nil
		}
		for {
			tok, err := s.dec.ReadToken()
			if err != nil || tok.Kind() != '"' {
				return nil
			}
			name := tok.String()
			if name == segment {
				break
			}
			if name > segment || s.dec.SkipValue() != nil {
				return nil
			}
		}
	}
	raw, err := s.dec.ReadValue()
	if err != nil {
		return nil
	}
	return raw
}

// pageToken is what a page token says: the query it belongs to and where the next page begins.
type pageToken struct {
	Shape string  `json:"q"`
	Value *Scalar `json:"v,omitempty"`
	ID    string  `json:"i"`
}

// Next returns the token of the page that follows a place.
func (s *Selection) Next(p Place) (string, error) {
	token := pageToken{Shape: s.shape, ID: p.ID}
	if s.order != nil {
		token.Value = &p.Value
	}
	raw, err := json.Marshal(token)
	if err != nil {
		return "", fmt.Errorf("page token: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}

// parseToken reads a token that may come from anyone.
func (s *Selection) parseToken(text string) (Place, error) {
	bad := func(why string) (Place, error) {
		return Place{}, fmt.Errorf("%w: page token: %s", ErrInvalid, why)
	}
	if len(text) > maxTokenBytes {
		return bad("too long")
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return bad("not base64url")
	}
	var token pageToken
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if dec.Decode(&token) != nil || dec.InputOffset() != int64(len(raw)) {
		return bad("not one of ours")
	}
	if token.Shape != s.shape {
		return bad("of another query")
	}
	if validID(token.ID) != nil {
		return bad("without an id")
	}
	if (token.Value != nil) != (s.order != nil) {
		return bad("of another order")
	}
	place := Place{ID: token.ID}
	if token.Value != nil {
		if place.Value = *token.Value; !place.Value.Orders() {
			return bad("without a value")
		}
	}
	return place, nil
}

// queryShape names all of a query that a page token must agree with: everything but limit and token.
func queryShape(q Query) (string, error) {
	shape, err := json.Marshal(struct {
		Collection string
		Where      []Filter
		OrderBy    string
		Descending bool
	}{q.Collection, q.Where, q.OrderBy, q.Descending})
	if err != nil {
		return "", fmt.Errorf("%w: query: %w", ErrInvalid, err)
	}
	sum := sha256.Sum256(shape)
	return hex.EncodeToString(sum[:8]), nil
}
