package docs

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/functions/authz"
	"github.com/isectech/service-networking/functions/register"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/tracing"
	"github.com/isectech/service-networking/test/devtest"
)

var update = flag.Bool("update", false, "write the generated parts instead of comparing them")

// TestConfiguration compares what the documentation says of the configuration with the structs that the
// variables are read into.
func TestConfiguration(t *testing.T) {
	t.Parallel()
	base := describe(t, &config.Base{})
	tables := map[string]string{"config": config.Markdown(base)}
	names := []string{"`DNS_PORT=`", "`LOCAL_DIR=.local`", "`PORT=8080`"} // of isectl dev, whose flags they are
	for _, v := range base {
		names = append(names, nameAndDefault(v))
	}
	for name, dst := range map[string]any{
		"authz":    &authz.Config{},
		"register": &register.Config{},
		"tracing":  &tracing.Config{},
	} {
		// What every part has is said once.
		own := slices.DeleteFunc(describe(t, dst), func(v config.Variable) bool { return slices.Contains(base, v) })
		tables["config-"+name] = config.Markdown(own)
		for _, v := range own {
			names = append(names, nameAndDefault(v))
		}
	}
	slices.Sort(names)
	compare(t, "docs/configuration.md", tables)
	compare(t, "README.md", map[string]string{"config-names": strings.Join(slices.Compact(names), " · ")})
}

func nameAndDefault(v config.Variable) string { return "`" + v.Name + "=" + v.Default + "`" }

// compare compares the generated parts of a page, or writes them.
func compare(t *testing.T, name string, texts map[string]string) {
	t.Helper()
	path := filepath.Join(devtest.Root(t), filepath.FromSlash(name))
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Replace(string(page), texts)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(page)); diff != "" {
		t.Errorf("%s is not what the code says; run make docs (-want +got):\n%s", name, diff)
	}
}

// describe lists a configuration's variables, and wants each to say what it means.
func describe(t *testing.T, dst any) []config.Variable {
	t.Helper()
	variables, err := config.Describe(dst)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range variables {
		if v.Meaning == "" {
			t.Errorf("%T: %s does not say what it means", dst, v.Name)
		}
	}
	return variables
}

func TestReplace(t *testing.T) {
	t.Parallel()
	page := "a\n<!-- generated: one -->\nold\n<!-- end -->\nb\n<!-- generated: two -->\n<!-- end -->\n"
	got, err := Replace(page, map[string]string{"one": "1\n", "two": "2"})
	if err != nil {
		t.Fatal(err)
	}
	want := "a\n<!-- generated: one -->\n1\n<!-- end -->\nb\n<!-- generated: two -->\n2\n<!-- end -->\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
	if got, err := Replace(want, map[string]string{"one": "1", "two": "2"}); err != nil || got != want {
		t.Errorf("a second time: %q, %v", got, err)
	}
	for _, texts := range []map[string]string{{"one": "1"}, {"one": "1", "two": "2", "three": "3"}} {
		if got, err := Replace(page, texts); err == nil {
			t.Errorf("Replace(%v) = %q, not an error", texts, got)
		}
	}
}
