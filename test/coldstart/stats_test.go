package main

import (
	"strings"
	"testing"
)

func TestFigures(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		f    figure
		want string
	}{
		"odd":   {summarize("a", "ms", []float64{3, 1, 2}), `{"figure":"a","value":2,"unit":"ms","spread":1,"runs":3}`},
		"even":  {summarize("a", "ms", []float64{4, 1, 2, 3}), `{"figure":"a","value":2.5,"unit":"ms","spread":1.2,"runs":4}`},
		"ratio": {compare("b", []float64{2, 9, 3}, []float64{2, 3, 2}), `{"figure":"b","value":1.5,"unit":"ratio","spread":1.333,"runs":3}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			if err := tt.f.write(&b); err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(b.String()); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
