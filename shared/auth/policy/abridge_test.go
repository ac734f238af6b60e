package policy

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAbridgePath(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 500)
	tests := []struct{ name, path, want string }{
		{"empty", "", ""},
		{"short", "/api/../x//y", "/api/../x//y"},
		{"just short enough", "/" + strings.Repeat("a", 511), "/" + strings.Repeat("a", 511)},
		{"long", "/" + strings.Repeat("a", 512), "/" + strings.Repeat("a", 511)},
		{"it leaves the prefix at its end", "/api/" + long + strings.Repeat("/b", 10) + strings.Repeat("/..", 12) + "/admin", "/admin"},
		{"an escape at the cut", "/" + long + "/12345678%41%41%41", "/" + long + "/12345678AA"},
		{"an escape that stays", "/" + long + "/123456789%C3%BC", "/" + long + "/123456789"},
		{"a percent sign", "/" + long + "/%25xx" + long, "/" + long + "/%25xxaaaaa"},
		{"dots at the cut", "/" + long + "aaaaaaa/..." + long, "/" + long + "aaaaaaa/..."},
		{"two dots at the cut", "/" + long + "aaaaaaaa/..." + long, "/" + long + "aaaaaaaa"},
		{"one dot at the cut", "/" + long + "aaaaaaaaa/..." + long, "/" + long + "aaaaaaaaa"},
		{"unclear", "/" + long + "/12345678%2f", "/" + long + "/1234567…"},
		{"above the root, behind the cut", "/" + long + "/12345678" + "/../../..", "/" + long + "/1234567…"},
		{"too long to be read", "/" + strings.Repeat("a", maxPathBytes), "/" + strings.Repeat("a", 508) + "…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := AbridgePath(tt.path); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// No prefix that a document can have tells the two apart.
func TestAbridgedPathIsJudgedAlike(t *testing.T) {
	t.Parallel()
	pieces := rapid.SampledFrom([]string{
		"/", "/", "/a", "/.", "/..", "/...", ".", "..", "%41", "%C3%BC", "%3F", "%25", "%2f", ";", "é",
		strings.Repeat("a", 60), strings.Repeat("%20", 40), strings.Repeat("/b", 50), strings.Repeat("/.", 100),
	})
	rapid.Check(t, func(t *rapid.T) {
		path := "/" + strings.Join(rapid.SliceOfN(pieces, 0, 30).Draw(t, "pieces"), "")
		short := AbridgePath(path)
		if len(short) > MaxAbridgedPath {
			t.Fatalf("%d bytes", len(short))
		}
		want, sure := canonicalPath(path)
		got, stillSure := canonicalPath(short)
		if sure != stillSure {
			t.Fatalf("%q is clear: %v, and %q: %v", path, sure, short, stillSure)
		}
		for n := 1; n <= min(maxPathPrefixBytes, max(len(want), len(got))); n++ {
			for _, of := range []string{want, got} {
				if prefix := of[:min(n, len(of))]; validPrefix(prefix) == "" && underPrefix(want, prefix) != underPrefix(got, prefix) {
					t.Fatalf("%s covers one of %q and %q", prefix, path, short)
				}
			}
		}
	})
}
