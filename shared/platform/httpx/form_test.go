package httpx_test

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/platform/httpx"
)

func TestQuery(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, query string
		want        httpx.Values // nil for a refusal
		fields      []httpx.FieldError
	}{
		{"none", "", httpx.Values{}, nil},
		{"some", "name=a+b&limit=", httpx.Values{"name": "a b", "limit": ""}, nil},
		{"unknown and twice", "nam=a&limit=1&limit=1", nil,
			[]httpx.FieldError{{Field: "limit", Message: "occurs more than once"}, {Field: "nam", Message: "unknown parameter"}}},
		{"malformed escape", "name=%zz", nil, []httpx.FieldError{}},
		{"semicolon", "name=a;limit=1", nil, []httpx.FieldError{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("GET", "/", nil)
			r.URL.RawQuery = tt.query
			got, err := httpx.Query(r, "name", "limit")
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
			if tt.want == nil {
				e, _ := errors.AsType[*httpx.Error](err)
				if d := cmp.Diff(tt.fields, e.Fields["fields"]); d != "" || e.Status != 400 {
					t.Errorf("%v\n%s", err, d)
				}
			}
		})
	}
}

func TestForm(t *testing.T) {
	t.Parallel()
	const form = "application/x-www-form-urlencoded"
	for _, tt := range []struct {
		name, contentType, body string
		want                    httpx.Values
		status                  int
	}{
		{"good", form, "grant_type=client_credentials&scope=api%3Aread&other=1", httpx.Values{"grant_type": "client_credentials", "scope": "api:read", "other": "1"}, 0},
		{"empty", form + "; charset=UTF-8", "", httpx.Values{}, 0},
		{"twice", form, "scope=a&scope=b", nil, 400},
		{"malformed", form, "%", nil, 400},
		{"json", "application/json", "{}", nil, 415},
		{"no type", "", "a=b", nil, 415},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("POST", "/?scope=from-the-url", strings.NewReader(tt.body))
			if tt.contentType != "" {
				r.Header.Set("Content-Type", tt.contentType)
			}
			got, err := httpx.Form(r)
			e, _ := errors.AsType[*httpx.Error](err)
			if d := cmp.Diff(tt.want, got); d != "" || statusOf(e) != tt.status {
				t.Errorf("%v\n%s", err, d)
			}
		})
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	v := httpx.Values{"n": "5", "bad": "x", "big": "501", "d": "30s", "neg": "-1s", "t": "true", "f": "false", "empty": ""}
	for name, want := range map[string]int64{"n": 5, "absent": 100, "bad": -1, "big": -1, "empty": -1} {
		got, err := v.Int(name, 100, 1, 500)
		if want == -1 && err == nil || want != -1 && (err != nil || got != want) {
			t.Errorf("Int(%s) = %d, %v", name, got, err)
		}
	}
	for name, want := range map[string]time.Duration{"d": 30 * time.Second, "absent": time.Second, "neg": -1, "n": -1, "empty": -1} {
		got, err := v.Duration(name, time.Second, time.Minute)
		if want == -1 && err == nil || want != -1 && (err != nil || got != want) {
			t.Errorf("Duration(%s) = %s, %v", name, got, err)
		}
	}
	if _, err := v.Duration("d", 0, time.Second); err == nil {
		t.Error("a duration over the bound was taken")
	}
	for name, want := range map[string]int{"t": 1, "f": 0, "absent": 0, "bad": -1, "empty": -1} {
		got, err := v.Bool(name)
		if want == -1 && err == nil || want != -1 && (err != nil || got != (want == 1)) {
			t.Errorf("Bool(%s) = %v, %v", name, got, err)
		}
	}
	if !v.Has("empty") || v.Has("absent") {
		t.Error("Has is wrong about an empty or an absent parameter")
	}
}
