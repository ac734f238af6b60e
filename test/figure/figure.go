// Package figure is the form in which every benchmark ends: one line of JSON a headline figure.
package figure

import (
	"encoding/json"
	"io"
	"math"
	"slices"
)

// Figure is one headline number.
type Figure struct {
	Name   string  `json:"figure"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Spread float64 `json:"spread"` // between the smallest and the largest run, as a share of the median
	Runs   int     `json:"runs"`
}

// Summarize is the figure of what was measured: the median, rounded to what it is worth.
func Summarize(name, unit string, runs []float64) Figure {
	sorted := slices.Sorted(slices.Values(runs))
	m := median(sorted)
	f := Figure{Name: name, Value: round(m), Unit: unit, Runs: len(runs)}
	if m > 0 {
		f.Spread = round((sorted[len(sorted)-1] - sorted[0]) / m)
	}
	return f
}

// Compare is the figure of how two medians of the same rounds relate. Its spread is that of the rounds' own
// ratios.
func Compare(name string, of, to []float64) Figure {
	ratios := make([]float64, len(of))
	for i := range of {
		ratios[i] = of[i] / to[i]
	}
	f := Summarize(name, "ratio", ratios)
	f.Value = round(median(slices.Sorted(slices.Values(of))) / median(slices.Sorted(slices.Values(to))))
	return f
}

func median(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

func round(x float64) float64 { return math.Round(x*1000) / 1000 }

// Write writes the line.
func (f Figure) Write(w io.Writer) error {
	line, err := json.Marshal(f)
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}
