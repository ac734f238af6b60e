package store

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxFaults bounds a report: whoever has a hundred faults needs a backup, not a longer list.
const maxFaults = 100

// Report is what Verify found.
type Report struct {
	Objects int     `json:"objects"` // with at least one entry
	Entries int     `json:"entries"`
	Faults  []Fault `json:"faults"` // at most 100, ordered by object and sequence: the first broken link first
	More    bool    `json:"more,omitzero"`
}

// Clean reports whether nothing is wrong.
func (r Report) Clean() bool { return len(r.Faults) == 0 }

// Fault is one thing that is wrong.
type Fault struct {
	Object   string `json:"object,omitempty"` // collection/id; "" where it can't be told
	Sequence int64  `json:"sequence,omitzero"`
	Entry    string `json:"entry,omitempty"` // id of the journal document
	Problem  string `json:"problem"`
	Expected string `json:"expected,omitempty"`
	Got      string `json:"got,omitempty"`
}

// String is the fault as one line of text.
func (f Fault) String() string {
	var b strings.Builder
	if f.Object != "" {
		fmt.Fprintf(&b, "%s ", f.Object)
	}
	if f.Sequence != 0 {
		fmt.Fprintf(&b, "sequence %d ", f.Sequence)
	}
	if f.Entry != "" {
		fmt.Fprintf(&b, "entry %s ", f.Entry)
	}
	fmt.Fprintf(&b, "%s", f.Problem)
	if f.Expected != "" || f.Got != "" {
		fmt.Fprintf(&b, ": expected %q, got %q", f.Expected, f.Got)
	}
	return b.String()
}

// fault takes a fault into the report, of which only the first hundred stay.
func (v *verifier) fault(f Fault) {
	v.report.Faults = append(v.report.Faults, f)
	if len(v.report.Faults) > 10*maxFaults {
		v.cut()
	}
}

// damage takes each error that a back end joined into the report.
func (v *verifier) damage(err error) {
	if err == nil {
		return
	}
	var corrupt *CorruptError
	//nolint:errorlint // a join has to be told from an error that wraps one
	if _, one := err.(*CorruptError); !one {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range joined.Unwrap() {
				v.damage(e)
			}
			return
		}
	}
	f := Fault{Problem: problem(err)}
	if errors.As(err, &corrupt) && corrupt.Ref != (Ref{}) {
		if corrupt.Ref.Collection == Journal {
			f.Entry = corrupt.Ref.ID
			if _, known := v.damaged[f.Entry]; !known {
				v.damaged[f.Entry] = false
			}
		} else {
			f.Object = corrupt.Ref.String()
			last := v.last[f.Object] // the entry that the document no longer agrees with
			f.Sequence, f.Entry = last.Sequence, last.ID
			if v.seen != nil {
				v.seen[f.Object] = true // it is not missing as well
			}
		}
	}
	v.fault(f)
}

// problem is what is wrong with a document, without its name.
func problem(err error) string {
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		return corrupt.Err.Error()
	}
	return err.Error()
}

func (v *verifier) finish() Report {
	v.report.Faults = slices.DeleteFunc(v.report.Faults, func(f Fault) bool {
		return f.Object == "" && v.damaged[f.Entry] // said again, with its place
	})
	v.cut()
	v.report.Objects = len(v.last)
	if v.report.Faults == nil {
		v.report.Faults = []Fault{} // an empty list in JSON too
	}
	return v.report
}

func (v *verifier) cut() {
	slices.SortFunc(v.report.Faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Sequence, b.Sequence),
			cmp.Compare(a.Entry, b.Entry), cmp.Compare(a.Problem, b.Problem))
	})
	v.report.Faults = slices.Compact(v.report.Faults)
	if len(v.report.Faults) > maxFaults {
		v.report.Faults, v.report.More = v.report.Faults[:maxFaults], true
	}
}

// inKeyOrder orders journal documents as a query by key does, leaving out those without one.
func inKeyOrder(docs []Document) []Document {
	keys := make(map[string]string, len(docs))
	ordered := make([]Document, 0, len(docs))
	for _, d := range docs {
		if key := entryKey(d.Data); key != "" {
			keys[d.Ref.ID] = key
			ordered = append(ordered, d)
		}
	}
	slices.SortFunc(ordered, func(a, b Document) int {
		return cmp.Or(strings.Compare(keys[a.Ref.ID], keys[b.Ref.ID]), strings.Compare(a.Ref.ID, b.Ref.ID))
	})
	return ordered
}
