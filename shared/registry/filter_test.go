package registry_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/registry"
)

func TestListByVersionTagsAndMetadata(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.registry()
	for i, version := range []string{"1.2.0", "v1.4.2", "1.4.2-rc.1", "1.10.0", "2.0.0+build", "latest", ""} {
		mustRegister(t, r, by(backend), instance(fmt.Sprintf("backend-services-%d", i), func(reg *registry.Registration) {
			reg.Version = version
			reg.Tags = []string{"all", []string{"even", "odd"}[i%2]}
			reg.Metadata = map[string]string{"tier": fmt.Sprint(i % 3), "Größe": "ja nein"}
		}))
	}
	v := view(t, r)
	for _, tt := range []struct {
		filter registry.Filter
		want   string // the last digits of the ids
	}{
		{registry.Filter{Version: "1.2.0"}, "0"},
		{registry.Filter{Version: "1.4.2"}, ""}, // a version is taken by its letters
		{registry.Filter{Version: "=1.4.2"}, "1"},
		{registry.Filter{Version: ">=1.2 <2"}, "013"},
		{registry.Filter{Version: ">=1.2, <2"}, "013"},
		{registry.Filter{Version: ">=1.2-0 <2"}, "0123"},
		{registry.Filter{Version: "^1.4"}, "13"},
		{registry.Filter{Version: "~1.4.2"}, "1"},
		{registry.Filter{Version: "1.x"}, "013"},
		{registry.Filter{Version: "<1.3 || >=2"}, "04"},
		{registry.Filter{Version: "1.2 - 1.5"}, "01"},
		{registry.Filter{Version: "*"}, "0134"},
		{registry.Filter{Version: "latest"}, "5"},
		{registry.Filter{Tags: []string{"all", "odd"}}, "135"},
		{registry.Filter{Tags: []string{"odd", "even"}}, ""},
		{registry.Filter{Metadata: map[string]string{"tier": "0"}}, "036"},
		{registry.Filter{Metadata: map[string]string{"tier": "0", "Größe": "ja nein"}, Tags: []string{"odd"}}, "3"},
		{registry.Filter{Metadata: map[string]string{"none": ""}}, ""},
	} {
		for _, limit := range []int{1, 500} {
			tt.filter.Limit, tt.filter.PageToken = limit, ""
			got := ""
			for _, id := range ids(t, v, tt.filter) {
				got += id[len(id)-1:]
			}
			if got != tt.want {
				t.Errorf("%+v: %q, want %q", tt.filter, got, tt.want)
			}
		}
	}
	// A page's token belongs to its filter, tags and metadata included.
	page, err := v.List(registry.Filter{Tags: []string{"all"}, Limit: 1})
	if err != nil || page.Next == "" {
		t.Fatalf("%+v %v", page, err)
	}
	for _, other := range []registry.Filter{
		{Tags: []string{"even"}}, {Tags: []string{"all", ""}}, {Metadata: map[string]string{"all": ""}}, {Name: "all"},
		{Tags: []string{"all"}, Metadata: map[string]string{"a": "b"}},
	} {
		other.PageToken = page.Next
		if _, err := v.List(other); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("%+v took the token of another filter: %v", other, err)
		}
	}
	for _, bad := range []string{">=", "<=>1", "^^1", "~x y", ">1 ||", strings.Repeat(">", 200), ">=1." + strings.Repeat("9", 200), "=latest"} {
		_, err := v.List(registry.Filter{Version: bad})
		var invalid *registry.InvalidError
		if !errors.As(err, &invalid) || len(invalid.Findings) != 1 || invalid.Findings[0].Field != "version" {
			t.Errorf("range %q: %v", bad, err)
		}
	}
	if diff := cmp.Diff(7, len(ids(t, v, registry.Filter{}))); diff != "" {
		t.Error(diff)
	}
}

// What a filter that lets little through costs is bounded page by page.
func TestListLooksAtSoManyForOnePage(t *testing.T) {
	t.Parallel()
	v := registry.ViewOf(t, 25_000)
	filter := registry.Filter{Metadata: map[string]string{"n": "24000"}}
	for pages := 1; ; pages++ {
		page, err := v.List(filter)
		if err != nil {
			t.Fatal(err)
		}
		if page.Next == "" {
			if pages != 3 || len(page.Instances) != 1 {
				t.Errorf("%d pages, the last with %d", pages, len(page.Instances))
			}
			return
		}
		filter.PageToken = page.Next
	}
}

func FuzzVersionRange(f *testing.F) {
	for _, seed := range []string{"1.2.0", ">=1.2 <2", "^1.4 || ~2", "1.x - 2", "*", "=v1.0.0-rc.1+b", "99999999999999999999.1", "é>1", "\x00<"} {
		f.Add(seed, "1.4.2-rc.1")
	}
	v := registry.ViewOf(f, 3)
	f.Fuzz(func(t *testing.T, text, _ string) {
		page, err := v.List(registry.Filter{Version: text})
		switch {
		case err != nil && !errors.Is(err, registry.ErrInvalid):
			t.Errorf("%q: %v", text, err)
		case err == nil && text == "" && len(page.Instances) != 3:
			t.Errorf("no filter lets %d through", len(page.Instances))
		}
	})
}
