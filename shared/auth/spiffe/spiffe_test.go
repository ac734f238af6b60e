package spiffe_test

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/spiffe"
)

func TestParse(t *testing.T) {
	t.Parallel()
	longTD := strings.Repeat("a", 255)
	for s, want := range map[string][2]string{
		"spiffe://isectech.com":                              {"isectech.com", ""},
		"spiffe://isectech.com/production/isectech-frontend": {"isectech.com", "/production/isectech-frontend"},
		"spiffe://a/b":                                       {"a", "/b"},
		"spiffe://1.2.3.4/b":                                 {"1.2.3.4", "/b"},
		"spiffe://a_b-c.d/A.b_c-D/...":                       {"a_b-c.d", "/A.b_c-D/..."},
		"spiffe://-/-":                                       {"-", "/-"},
		"spiffe://" + longTD + "/x":                          {longTD, "/x"},
		"spiffe://a/" + strings.Repeat("x", 2048-len("spiffe://a/")): {"a", "/" + strings.Repeat("x", 2048-len("spiffe://a/"))},
	} {
		id, err := spiffe.Parse(s)
		if err != nil || id.TrustDomain() != want[0] || id.Path() != want[1] || id.String() != s || id.IsZero() {
			t.Errorf("%.80s: %q, %q, %v", s, id.TrustDomain(), id.Path(), err)
		}
	}
	for _, s := range []string{
		"", " ", "spiffe", "spiffe:", "spiffe:/", "spiffe://", "spiffe:///", "spiffe:///path", "//isectech.com/x",
		"isectech.com/x", "SPIFFE://isectech.com/x", "Spiffe://isectech.com/x", "https://isectech.com/x", "spiffe:/isectech.com/x",
		"spiffe:isectech.com", " spiffe://isectech.com", "spiffe://isectech.com/x ", "spiffe://isectech.com/x\n",
		"spiffe://Isectech.com/x", "spiffe://isectech.com:443/x", "spiffe://isectech.com:/x", "spiffe://user@isectech.com/x",
		"spiffe://user:pw@isectech.com/x", "spiffe://[::1]/x", "spiffe://isectech%2ecom/x", "spiffe://isectech.com%2fx",
		"spiffe://münchen.de/x", "spiffe://isectech.com\\x", "spiffe://isectech.com\x00/x", "spiffe://isec~tech/x",
		"spiffe://isectech.com/", "spiffe://isectech.com//x", "spiffe://isectech.com/x/", "spiffe://isectech.com/x//y",
		"spiffe://isectech.com/.", "spiffe://isectech.com/..", "spiffe://isectech.com/./x", "spiffe://isectech.com/x/../y",
		"spiffe://isectech.com/x/..", "spiffe://isectech.com/x?a=b", "spiffe://isectech.com/x?", "spiffe://isectech.com?a",
		"spiffe://isectech.com/x#f", "spiffe://isectech.com#f", "spiffe://isectech.com/%41", "spiffe://isectech.com/x%2Fy",
		"spiffe://isectech.com/a b", "spiffe://isectech.com/a:b", "spiffe://isectech.com/a@b", "spiffe://isectech.com/a~b",
		"spiffe://isectech.com/a+b", "spiffe://isectech.com/é", "spiffe://isectech.com/\u202e", "spiffe://isectech.com/a\tb",
		"spiffe://isectech.com/a\\b", "spiffe://isectech.com/\xff", "spiffe://isectech.com/x\x00",
		"spiffe://" + longTD + "a/x", "spiffe://" + longTD + "a",
		"spiffe://a/" + strings.Repeat("x", 2049-len("spiffe://a/")),
	} {
		if id, err := spiffe.Parse(s); !errors.Is(err, spiffe.ErrInvalid) || !id.IsZero() || id.String() != "" {
			t.Errorf("%.80q: %v, %v", s, id, err)
		}
	}
}

func TestWorkload(t *testing.T) {
	t.Parallel()
	for _, env := range auth.Environments() {
		want := auth.MustSubject("isectech-backend-services")
		sub, gotEnv, err := spiffe.Workload(want.SPIFFE(env))
		if err != nil || sub != want || gotEnv != env {
			t.Errorf("%s: %v, %v, %v", want.SPIFFE(env), sub, gotEnv, err)
		}
	}
	for _, s := range []string{
		"", "isectech-frontend", "spiffe://isectech.com", "spiffe://isectech.com/production",
		"spiffe://isectech.com/isectech-frontend", "spiffe://isectech.com/isectech-frontend/production",
		"spiffe://isectech.com/Production/isectech-frontend", "spiffe://isectech.com/prod/isectech-frontend",
		"spiffe://isectech.com/production/Isectech-Frontend", "spiffe://isectech.com/production/-frontend",
		"spiffe://isectech.com/production/isectech.frontend", "spiffe://isectech.com/production/isectech_frontend",
		"spiffe://isectech.com/production/isectech-frontend/", "spiffe://isectech.com/production/isectech-frontend/x",
		"spiffe://isectech.com//production/isectech-frontend", "spiffe://isectech.com/production/../isectech-frontend",
		"spiffe://isectech.com.evil.example/production/isectech-frontend", "spiffe://evil.example/production/isectech-frontend",
		"spiffe://www.isectech.com/production/isectech-frontend", "spiffe://isectech.com/production/operator:ops@isectech.com",
		"spiffe://isectech.com/production/" + strings.Repeat("a", 64), "SPIFFE://isectech.com/production/isectech-frontend",
	} {
		if sub, env, err := spiffe.Workload(s); !errors.Is(err, spiffe.ErrInvalid) || !sub.IsZero() || env != "" {
			t.Errorf("%q: %v, %v, %v", s, sub, env, err)
		}
	}
}

// grammar is the standard's grammar as one expression; segments of dots are left to a check of their own.
var grammar = regexp.MustCompile(`\Aspiffe://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)*)\z`)

func FuzzSPIFFE(f *testing.F) {
	for _, s := range []string{
		"spiffe://isectech.com/production/isectech-frontend", "spiffe://a", "spiffe://a/../b", "spiffe://a:1/b",
		"spiffe://a/%41", "SPIFFE://a/b", "spiffe://a/b?c#d", "spiffe://u@a/b", "spiffe:///b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m := grammar.FindStringSubmatch(s)
		valid := m != nil && len(s) <= 2048
		if valid {
			for segment := range strings.SplitSeq(m[2], "/") {
				valid = valid && segment != "." && segment != ".."
			}
		}
		id, err := spiffe.Parse(s)
		if (err == nil) != valid {
			t.Fatalf("%q: %v, by the grammar %v", s, err, valid)
		}
		if sub, env, err := spiffe.Workload(s); err == nil && (!valid || sub.SPIFFE(env) != s) {
			t.Errorf("%q names %v in %v", s, sub, env)
		}
		if err != nil {
			return
		}
		if id.TrustDomain() != m[1] || id.Path() != m[2] {
			t.Errorf("%q: %q, %q", s, id.TrustDomain(), id.Path())
		}
		if u, err := url.Parse(s); err != nil || u.Scheme != "spiffe" || u.Host != m[1] || u.EscapedPath() != m[2] {
			t.Errorf("%q: as a URL it is %v, %v", s, u, err)
		}
	})
}
