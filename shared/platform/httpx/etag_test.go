package httpx_test

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/platform/httpx"
)

func TestConditions(t *testing.T) {
	t.Parallel()
	many := strings.TrimSuffix(strings.Repeat(`"1",`, 65), ",")
	tests := []struct {
		name         string
		header       []string
		tag          string
		strong, weak bool
		malformed    bool
	}{
		{"none", nil, `"3"`, false, false, false},
		{"same", []string{`"3"`}, `"3"`, true, true, false},
		{"other", []string{`"2"`}, `"3"`, false, false, false},
		{"prefix", []string{`"33"`}, `"3"`, false, false, false},
		{"any", []string{`*`}, `"3"`, true, true, false},
		{"any of nothing", []string{` * `}, "", false, false, false},
		{"list", []string{`"1", "2" ,"3"`}, `"3"`, true, true, false},
		{"lines", []string{`"1"`, `"3"`}, `"3"`, true, true, false},
		{"empty elements", []string{`, "1",, "3",`}, `"3"`, true, true, false},
		{"weak", []string{`W/"3"`}, `"3"`, false, true, false},
		{"weak answer", []string{`"3"`}, `W/"3"`, false, true, false},
		{"comma in a tag", []string{`"a,b"`}, `"a,b"`, true, true, false},
		{"empty tag", []string{`""`}, `""`, true, true, false},
		{"unquoted", []string{`3`}, `"3"`, false, false, true},
		{"open", []string{`"3`}, `"3"`, false, false, true},
		{"lower-case weak", []string{`w/"3"`}, `"3"`, false, false, true},
		{"no comma", []string{`"1" "3"`}, `"3"`, false, false, true},
		{"stuck together", []string{`"1""3"`}, `"3"`, false, false, true},
		{"any among others", []string{`"1", *`}, `"3"`, false, false, true},
		{"empty", []string{``}, `"3"`, false, false, true},
		{"commas", []string{`,,`}, `"3"`, false, false, true},
		{"space in a tag", []string{`"3 "`}, `"3"`, false, false, true},
		{"control in a tag", []string{"\"3\x85\""}, `"3"`, false, false, true},
		{"too many", []string{many}, `"1"`, false, false, true},
		{"weak alone", []string{`W/`}, `"3"`, false, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("GET", "/", nil)
			r.Header["If-Match"], r.Header["If-None-Match"] = tt.header, tt.header
			im, err := httpx.IfMatch(r)
			inm, err2 := httpx.IfNoneMatch(r)
			if (err != nil) != tt.malformed || (err2 != nil) != tt.malformed {
				t.Fatalf("errors %v, %v", err, err2)
			}
			if im.MatchesStrong(tt.tag) != tt.strong || inm.MatchesWeak(tt.tag) != tt.weak {
				t.Errorf("strong %v, weak %v", im.MatchesStrong(tt.tag), inm.MatchesWeak(tt.tag))
			}
		})
	}
}

func TestCheckIfMatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		header     string
		generation int64
		status     int
	}{
		{"", 3, 0}, {"", 0, 0}, {`"3"`, 3, 0}, {`*`, 3, 0}, {`"2", "3"`, 3, 0},
		{`"2"`, 3, 412}, {`W/"3"`, 3, 412}, {`*`, 0, 412}, {`"0"`, 0, 412}, {`3`, 3, 400},
	} {
		r := httptest.NewRequest("PATCH", "/", nil)
		if tt.header != "" {
			r.Header.Set("If-Match", tt.header)
		}
		err := httpx.CheckIfMatch(r, tt.generation)
		e, _ := errors.AsType[*httpx.Error](err)
		if statusOf(e) != tt.status {
			t.Errorf("%q at %d: %v", tt.header, tt.generation, err)
		}
		if tt.status == 412 && e.Fields["generation"] != tt.generation {
			t.Errorf("%q at %d: fields %v", tt.header, tt.generation, e.Fields)
		}
	}
}

func TestNotModified(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]int{"": 200, `"7"`: 304, `W/"7"`: 304, `*`: 304, `"8"`: 200} {
		r := httptest.NewRequest("GET", "/", nil)
		if header != "" {
			r.Header.Set("If-None-Match", header)
		}
		w := httptest.NewRecorder()
		done, err := httpx.NotModified(w, r, httpx.ETag(7))
		if err != nil || done != (want == 304) || w.Code != want || w.Header().Get("ETag") != `"7"` {
			t.Errorf("%q: %v %v %d %v", header, done, err, w.Code, w.Header())
		}
	}
}

func FuzzETagMatch(f *testing.F) {
	for _, s := range []string{`"3"`, `*`, `W/"3"`, `"1", "2"`, `"a,b"`, `,`, `"`, `W/`, `"1""2"`, " \t\"3\"", `"3",*`} {
		f.Add(s, `"3"`)
	}
	f.Fuzz(func(t *testing.T, header, tag string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["If-Match"] = []string{header}
		c, err := httpx.IfMatch(r)
		if err != nil && (c.MatchesStrong(tag) || c.MatchesWeak(tag)) {
			t.Fatalf("%q is malformed and matches", header)
		}
		if c.MatchesStrong(tag) && !c.MatchesWeak(tag) {
			t.Fatalf("%q matches %q strongly and not weakly", header, tag)
		}
		if tag != "" && c.MatchesWeak(tag) && strings.Trim(header, " \t") != "*" && !strings.Contains(header, strings.TrimPrefix(tag, "W/")) {
			t.Fatalf("%q matches %q, which it does not hold", header, tag)
		}
	})
}
