package trust_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
)

// sized returns a policy with so many services, each of which calls the next.
func sized(services int) *policy.Document {
	doc := &policy.Document{
		Services:  make(map[string]policy.ServiceEntry, services),
		Operators: map[string]policy.Operator{"ops@isectech.com": {Scopes: []string{"admin:write"}}},
	}
	for i := range services {
		doc.Services[fmt.Sprintf("s%d", i)] = policy.ServiceEntry{Environments: []string{"production"}}
		if i%4 == 0 {
			doc.Edges = append(doc.Edges, policy.Edge{Caller: fmt.Sprintf("s%d", i), Target: fmt.Sprintf("s%d", (i+1)%services)})
		}
	}
	return doc
}

// A policy of more values than a document of the store may have is stored all the same, and read again as it was.
func TestStoredPolicy(t *testing.T) {
	t.Parallel()
	for _, services := range []int{2, 500, 4_000} {
		t.Run(fmt.Sprint(services), func(t *testing.T) {
			t.Parallel()
			doc := sized(services)
			writes, _, err := trust.PolicyWrites(doc, 6)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range writes {
				stored, err := store.Canonical(w.Data)
				if err != nil {
					t.Fatalf("%s: %v", w.Ref, err)
				}
				text, err := trust.PolicyText(stored)
				if err != nil {
					t.Fatalf("%s: %v", w.Ref, err)
				}
				got, _, err := policy.Parse(text)
				if err != nil {
					t.Fatalf("%s: %v", w.Ref, err)
				}
				want, again := marshalled(t, doc), marshalled(t, got)
				if diff := cmp.Diff(want, again); diff != "" {
					t.Errorf("%s: %.500s", w.Ref, diff)
				}
			}
			p, err := trust.CompilePolicy(writes[0].Data.(json.RawMessage), 7)
			if err != nil || p.Version() != 7 {
				t.Errorf("%v", err)
			}
		})
	}
}

func marshalled(t *testing.T, doc *policy.Document) string {
	t.Helper()
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A packed policy that is damaged, or swells up, is none.
func TestDamagedPolicy(t *testing.T) {
	t.Parallel()
	pack := func(text string) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	good := pack(marshalled(t, sized(2)))
	flipped := bytes.Clone(good)
	flipped[len(flipped)-6] ^= 1
	for name, packed := range map[string]any{
		"nothing": nil, "no text": 7, "no base64": "=", "no gzip": []byte("{}"), "cut": good[:len(good)-9], "flipped": flipped,
		"swollen": pack(strings.Repeat(" ", policy.MaxDocumentBytes) + "{}"), "no policy": pack("[]"),
		"packed twice": pack(`{"packed":""}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := json.Marshal(map[string]any{"packed": packed})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := trust.CompilePolicy(data, 1); err == nil {
				t.Error("compiled")
			}
			if _, err := trust.PolicyText(data); name == "swollen" && !errors.Is(err, trust.ErrPolicyTooLarge) {
				t.Errorf("%v", err)
			}
		})
	}
}

// listening is a store that tells when the signing keys are read.
type listening struct {
	store.Store
	keys int
}

func (l *listening) Query(ctx context.Context, q store.Query) (store.Page, error) {
	if q.Collection == store.SigningKeys {
		l.keys++
	}
	return l.Store.Query(ctx, q)
}

// The time that the store is given is not spent on compiling, which takes seconds for a large policy on a small
// machine: whatever the policy is, the keys have been read by then.
func TestKeysAreReadFirst(t *testing.T) {
	t.Parallel()
	p := platformtest.New(t)
	current, err := p.Store.Get(t.Context(), trust.PolicyRef)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Store.Commit(t.Context(), store.Batch{Actor: "test", Cause: "test", Writes: []store.Write{
		{Ref: trust.PolicyRef, Data: map[string]any{"packed": "nothing"}, If: store.AtGeneration(current.Generation)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	s := &listening{Store: p.Store}
	if _, err := trust.NewSource(s, p.Clock.Now).State(t.Context()); !errors.Is(err, trust.ErrUnavailable) || s.keys != 1 {
		t.Errorf("the keys were read %d times: %v", s.keys, err)
	}
}
