package policy

import (
	"net/url"
	"path"
	"strings"
	"testing"
)

func TestCanonicalPath(t *testing.T) {
	t.Parallel()
	tests := []struct {
		path, want string // "": refused
	}{
		{"/", "/"},
		{"/api", "/api"},
		{"/api/", "/api"},
		{"/api/x.y/.well-known", "/api/x.y/.well-known"},
		{"//api///x//", "/api/x"},
		{"/./api/./x/.", "/api/x"},
		{"/api/../admin", "/admin"},
		{"/api/x/..", "/api"},
		{"/api/..", "/"},
		{"/a/b/../../c", "/c"},
		{"/a/b/..//c//", "/a/c"},
		{"/...", "/..."},
		{"/..a/.b", "/..a/.b"},
		{"/%61pi", "/api"},
		{"/a%20b", "/a b"},
		{"/%C3%BC", "/ü"},
		{"/a%3Fb%23c", "/a?b#c"},
		{"/100%25", "/100%"},
		{"/a:b@c,d=e+f!$&'()*~_-", "/a:b@c,d=e+f!$&'()*~_-"},

		{"", ""},
		{"api", ""},
		{"*", ""},
		{"http://x/api", ""},
		{"/..", ""},
		{"/a//../b", ""},
		{"//a/../b", ""},
		{"/a/./..//b/../c", ""},
		{"/api/../..", ""},
		{"/api/../../api", ""},
		{"/api%2Fx", ""},
		{"/api%2fx", ""},
		{"/api/%2e%2e/admin", ""},
		{"/api/.%2E/admin", ""},
		{"/api%5Cx", ""},
		{`/api\..\admin`, ""},
		{"/api;v=1/x", ""},
		{"/api/..;/admin", ""},
		{"/api%3bx", ""},
		{"/%00", ""},
		{"/%0a", ""},
		{"/%7F", ""},
		{"/\x00", ""},
		{"/a b", ""},
		{"/ü", ""},
		{"/%", ""},
		{"/%4", ""},
		{"/%zz", ""},
		{"/%u0061", ""},
		{"/%c0%af", ""},
		{"/%ff", ""},
		{"/%252e%252e", ""},
		{"/%2561", ""},
		{"/%25%36%31", ""},
		{"/api?x", ""},
		{"/api#x", ""},
		{"/" + strings.Repeat("a", maxPathBytes), ""},
	}
	for _, tt := range tests {
		t.Run(tt.path[:min(len(tt.path), 40)], func(t *testing.T) {
			t.Parallel()
			got, ok := canonicalPath(tt.path)
			if got != tt.want || ok != (tt.want != "") {
				t.Errorf("got %q, %v; want %q", got, ok, tt.want)
			}
		})
	}
}

func TestUnderPrefix(t *testing.T) {
	t.Parallel()
	tests := []struct {
		path, prefix string
		want         bool
	}{
		{"/", "/", true},
		{"/api", "/", true},
		{"/api", "/api", true},
		{"/api/x", "/api", true},
		{"/apix", "/api", false},
		{"/ap", "/api", false},
		{"/", "/api", false},
		{"/x/api", "/api", false},
		{"/API", "/api", false},
	}
	for _, tt := range tests {
		if got := underPrefix(tt.path, tt.prefix); got != tt.want {
			t.Errorf("%s under %s: %v", tt.path, tt.prefix, got)
		}
	}
}

// FuzzPathMatch holds what is matched to what the standard library makes of the same path, and every
// match to a comparison segment by segment.
func FuzzPathMatch(f *testing.F) {
	for _, p := range []string{
		"/api", "/api/", "/api/../admin", "/api//x", "/./api", "/%61pi", "/api%2Fx", "/api/%2e%2e/admin", "/api/..;/admin",
		`/api\x`, "/%00", "/%zz", "/%252e", "/%c0%af", "/..", "/a%20b", "/ü", "",
	} {
		f.Add(p, "/api")
		f.Add(p, "/")
	}
	f.Fuzz(func(t *testing.T, raw, prefix string) {
		clean, ok := canonicalPath(raw)
		if !ok {
			if clean != "" {
				t.Fatalf("%q is refused and yet %q", raw, clean)
			}
			return
		}
		decoded, err := url.PathUnescape(raw)
		if err != nil {
			t.Fatalf("%q passes: %v", raw, err)
		}
		if want := path.Clean(decoded); clean != want {
			t.Fatalf("%q is %q; the standard library says %q", raw, clean, want)
		}
		if twice, err := url.PathUnescape(decoded); err == nil && twice != decoded {
			t.Fatalf("%q is %q when decoded twice", raw, twice)
		}
		if again, ok := canonicalPath((&url.URL{Path: clean}).EscapedPath()); ok && again != clean {
			t.Fatalf("%q is %q, which is %q", raw, clean, again)
		}
		if validPrefix(prefix) != "" {
			return
		}
		var want bool
		if have, need := segments(clean), segments(prefix); len(need) <= len(have) {
			want = true
			for i := range need {
				want = want && need[i] == have[i]
			}
		}
		if got := underPrefix(clean, prefix); got != want {
			t.Fatalf("%q under %q: %v", clean, prefix, got)
		}
	})
}

func segments(p string) []string {
	if p == "/" {
		return nil
	}
	return strings.Split(p[1:], "/")
}
