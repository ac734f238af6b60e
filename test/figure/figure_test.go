package figure_test

import (
	"strings"
	"testing"

	"github.com/isectech/service-networking/test/figure"
)

func TestFigures(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		f    figure.Figure
		want string
	}{
		"odd":   {figure.Summarize("a", "ms", []float64{3, 1, 2}), `{"figure":"a","value":2,"unit":"ms","spread":1,"runs":3}`},
		"even":  {figure.Summarize("a", "ms", []float64{4, 1, 2, 3}), `{"figure":"a","value":2.5,"unit":"ms","spread":1.2,"runs":4}`},
		"ratio": {figure.Compare("b", []float64{2, 9, 3}, []float64{2, 3, 2}), `{"figure":"b","value":1.5,"unit":"ratio","spread":1.333,"runs":3}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			if err := tt.f.Write(&b); err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(b.String()); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
