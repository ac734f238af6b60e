package httpx

import (
	"strings"
	"testing"
)

// Each byte at each place in a word, and in what is left over.
func TestVisible(t *testing.T) {
	t.Parallel()
	for n := range 20 {
		for at := range n {
			for c := range 256 {
				s := strings.Repeat("~", at) + string([]byte{byte(c)}) + strings.Repeat(" ", n-at-1)
				if got, want := visible(s), c >= ' ' && c <= '~'; got != want {
					t.Fatalf("%q: %v", s, got)
				}
			}
		}
	}
	if !visible("") {
		t.Error("nothing is not visible")
	}
}
