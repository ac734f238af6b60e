package laws

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/test/stage"
)

// TestDependencyLists compares what each function's binary is linked from with the list that is checked in,
// so that a library, or a heavy part of one, never slips into a function unseen.
func TestDependencyLists(t *testing.T) {
	t.Parallel()
	dir := root(t)
	functions, err := stage.Functions(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range functions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := filepath.Join(dir, "functions", name)
			want, err := stage.ReadDependencies(at)
			if err != nil {
				t.Fatal(err)
			}
			got, err := stage.Dependencies(t.Context(), at)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("functions/%s/deps.txt is not what the function links; if it should be, run make tidy (-listed +linked):\n%s", name, diff)
			}
		})
	}
}
