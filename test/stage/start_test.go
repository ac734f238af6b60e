package stage

import (
	"path/filepath"
	"strings"
	"testing"
)

// process plays the function that FUNCTION_TARGET names. It is not written by the test: a file that has just
// been written may be busy while another test starts a program.
func process(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", "process.sh"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"Fine":   "",
		"Status": "want exit status 1",
		"Well":   "want exit status 1",
		"Lines":  "want one line",
		"Silent": "want one line that names GOOGLE_CLOUD_PROJECT",
	} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			err := Refuses(t.Context(), process(t), target)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("want %q, got %v", want, err)
			}
		})
	}
}

func TestAnswersOfAProcessThatEnds(t *testing.T) {
	t.Parallel()
	err := Answers(t.Context(), process(t), "Panic", nil, Probe{Path: "/"})
	if err == nil || !strings.Contains(err.Error(), "ended while starting") || !strings.Contains(err.Error(), "panic: no") {
		t.Errorf("got %v", err)
	}
}
