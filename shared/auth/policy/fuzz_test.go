package policy_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
)

// FuzzParse: whatever is read without an error compiles, writes and reads again as the same, grants no
// admin scope to a service, and what is refused says why.
func FuzzParse(f *testing.F) {
	whole, err := json.Marshal(shipped(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	for _, seed := range []string{
		``, `{}`, `null`, `{"services":{}}`, `{"services":{"a":{"environments":["production"],"aliases":["b"]},"b":{}}}`,
		`{"services":{"a":{},"a":{}}}`, `{"edges":[{"caller":"a","target":"b","effect":"deny","path_prefixes":["/a"],"methods":["GET"]}]}`,
		`{"services":{"a":{"environments":["production"],"scopes":["admin:read"]}}}`, `{"operators":{"a@b.c":{"scopes":["admin:write"]}}}`,
		`{"service_accounts":{"a@b.c":{"service":"a","environment":"production"}}}`, "{\"\xff\":1}", `{"\u0073ervices":{}}`, `[[[[[[`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, found, err := policy.Parse(data)
		broken := slices.ContainsFunc(found, func(f policy.Finding) bool { return f.Severity == policy.Error })
		if broken != errors.Is(err, policy.ErrInvalid) || broken != (doc == nil) {
			t.Fatalf("error %v, findings %v", err, found)
		}
		if err != nil {
			return
		}
		p, err := policy.Compile(doc, 1)
		if err != nil {
			t.Fatalf("parsed and does not compile: %v", err)
		}
		if d := policy.Diff(p, p, 1); !d.Same() {
			t.Fatalf("differs from itself: %+v", d)
		}
		for s := range p.Services() {
			if s.Grant&(auth.AdminRead|auth.AdminWrite) != 0 {
				t.Fatalf("%s is granted %s", s.Subject, s.Grant)
			}
			for _, ref := range append(s.Aliases, s.Subject.String()) {
				if got, ok := p.Resolve(ref); !ok || got != s.Subject {
					t.Fatalf("%s resolves to %s, not %s", ref, got, s.Subject)
				}
			}
		}
		once, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := policy.Parse(once)
		if len(once) <= policy.MaxDocumentBytes && err != nil {
			t.Fatalf("written and not read: %v", err)
		}
		if err == nil {
			if twice, err := json.Marshal(again); err != nil || string(once) != string(twice) {
				t.Fatalf("%v\n%s\n%s", err, once, twice)
			}
		}
	})
}
