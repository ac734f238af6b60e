package httpx_test

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/platform/httpx"
)

type endpoint struct {
	Name string `json:"name"`
	Port uint16 `json:"port"`
}

type upper string

func (u *upper) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil || s != strings.ToUpper(s) {
		return errors.New("want upper case")
	}
	*u = upper(s)
	return nil
}

type document struct {
	Name      string            `json:"name"`
	Endpoints []endpoint        `json:"endpoints"`
	Weight    int               `json:"weight"`
	Share     float64           `json:"share"`
	Public    bool              `json:"public"`
	Since     time.Time         `json:"since"`
	Code      upper             `json:"code"`
	Metadata  map[string]string `json:"metadata"`
	Nested    *document         `json:"nested"`
}

func TestUnmarshalStrict(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat(`{"nested":`, n) + `{}` + strings.Repeat("}", n) }
	tests := []struct {
		name, body     string
		field, message string // "" "" for a good one
	}{
		{"good", `{"name":"a","endpoints":[{"name":"x","port":1}],"metadata":{"k":"v"}}` + "\n", "", ""},
		{"depth that is allowed", deep(31), "", ""},
		{"brackets in a string are not depth", `{"name":"` + strings.Repeat(`[\"{`, 100) + `"}`, "", ""},
		{"too deep", deep(32), "", "nested deeper than 32"},
		{"far too deep", strings.Repeat("[", 1<<19), "", "nested deeper than 32"},
		{"null", ` null`, "", "want a value, not null"},
		{"unknown member", `{"nam":"a"}`, "nam", "unknown member"},
		{"other case", `{"Name":"a"}`, "Name", "unknown member"},
		{"duplicate", `{"name":"a","name":"b"}`, "name", "occurs twice"},
		{"duplicate by escape", `{"name":"a","n\u0061me":"b"}`, "name", "occurs twice"},
		{"duplicate in a map", `{"metadata":{"k":"1","k":"2"}}`, "metadata.k", "occurs twice"},
		{"trailing data", `{} {}`, "", "malformed JSON at byte 3"},
		{"truncated", `{"name":"a"`, "", "malformed JSON at byte 11"},
		{"byte order mark", "\ufeff{}", "", "malformed JSON at byte 0"},
		{"invalid UTF-8", "{\"name\":\"\xff\"}", "name", "malformed JSON at byte 9"},
		{"lone surrogate", `{"name":"\ud800"}`, "name", "malformed JSON at byte 9"},
		{"NaN", `{"share":NaN}`, "share", "malformed JSON at byte 9"},
		{"comment", `{/**/}`, "", "malformed JSON at byte 1"},
		{"number for a string", `{"name":1}`, "name", "want a string"},
		{"string for a number", `{"endpoints":[{"name":"a","port":1},{"port":"2"}]}`, "endpoints[1].port", "want a whole number"},
		{"fraction for a whole number", `{"weight":1.5}`, "weight", "want a whole number"},
		{"out of range", `{"endpoints":[{"port":70000}]}`, "endpoints[0].port", "the number is out of range"},
		{"negative for unsigned", `{"endpoints":[{"port":-1}]}`, "endpoints[0].port", "want a whole number"},
		{"object for an array", `{"endpoints":{}}`, "endpoints", "want an array"},
		{"string for a boolean", `{"public":"true"}`, "public", "want true or false"},
		{"string for a float", `{"share":"x"}`, "share", "want a number"},
		{"array for an object", `[]`, "", "want an object"},
		{"time", `{"since":"yesterday"}`, "since", "want a time such as 2026-01-04T12:00:00Z"},
		{"a type's own rule", `{"code":"low"}`, "code", "want upper case"},
		{"a type's own rule deeper down", `{"nested":{"code":"low"}}`, "nested.code", "want upper case"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := httpx.UnmarshalStrict([]byte(tt.body), &document{})
			if tt.message == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			e, ok := errors.AsType[*httpx.Error](err)
			if !ok {
				t.Fatalf("error is %v", err)
			}
			want := []httpx.FieldError{{Field: tt.field, Message: tt.message}}
			if d := cmp.Diff(want, e.Fields["fields"]); d != "" || e.Status != 400 || e.Code != "invalid_request" {
				t.Errorf("%d %s\n%s", e.Status, e.Code, d)
			}
		})
	}
}

func TestDecodeJSONMediaType(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		types    []string
		encoding []string
		status   int // 0 for a good one
	}{
		{"json", []string{"application/json"}, nil, 0},
		{"any case and a charset", []string{"Application/JSON; charset=UTF-8"}, nil, 0},
		{"suffix", []string{"application/merge-patch+json"}, nil, 0},
		{"identity", []string{"application/json"}, []string{"identity"}, 0},
		{"none", nil, nil, 415},
		{"two", []string{"application/json", "application/json"}, nil, 415},
		{"form", []string{"application/x-www-form-urlencoded"}, nil, 415},
		{"text", []string{"text/json"}, nil, 415},
		{"other charset", []string{"application/json; charset=utf-16"}, nil, 415},
		{"malformed", []string{"application/json; charset"}, nil, 415},
		{"gzip", []string{"application/json"}, []string{"gzip"}, 415},
		{"gzip behind identity", []string{"application/json"}, []string{"identity", "gzip"}, 415},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("POST", "/", strings.NewReader(`{}`))
			r.Header["Content-Type"], r.Header["Content-Encoding"] = tt.types, tt.encoding
			err := httpx.DecodeJSON(r, &document{})
			e, _ := errors.AsType[*httpx.Error](err)
			if got := statusOf(e); got != tt.status {
				t.Errorf("status %d, want %d: %v", got, tt.status, err)
			}
		})
	}
}

func statusOf(e *httpx.Error) int {
	if e == nil {
		return 0
	}
	return e.Status
}

func TestReadBodyLimit(t *testing.T) {
	t.Parallel()
	for n, status := range map[int]int{9: 0, 10: 0, 11: 413} {
		r := httptest.NewRequest("POST", "/", strings.NewReader(strings.Repeat("x", n)))
		body, err := httpx.ReadBody(r, 10)
		e, _ := errors.AsType[*httpx.Error](err)
		if statusOf(e) != status || err == nil && len(body) != n {
			t.Errorf("%d bytes: %d read, error %v", n, len(body), err)
		}
	}
}

// Whatever is accepted must mean the same to a second, independent decoder that is told to be strict, and
// decoding must never panic.
func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"name":"a","endpoints":[{"name":"x","port":1}]}`, `{"name":"a","name":"b"}`, `{"n\u0061me":"a"}`,
		`{"weight":1e2}`, `{"weight":-0}`, `{"metadata":{"":""}}`, `{"nested":{"nested":null}}`, `[[[[`, "\ufeff{}", `{"name":"\ud800"}`, "{\"name\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got document
		err := httpx.UnmarshalStrict(text, &got)
		if err != nil {
			if e, ok := errors.AsType[*httpx.Error](err); !ok || e.Status != 400 {
				t.Fatalf("%q: error is %v", text, err)
			}
			return
		}
		var want document
		dec := json.NewDecoder(strings.NewReader(string(text)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&want); err != nil {
			t.Fatalf("%q is accepted, though encoding/json says %v", text, err)
		}
		if want.Name != got.Name || want.Weight != got.Weight || len(want.Endpoints) != len(got.Endpoints) {
			t.Fatalf("%q means %+v here and %+v to encoding/json", text, got, want)
		}
	})
}
