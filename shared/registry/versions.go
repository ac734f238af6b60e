package registry

import (
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// maxRange bounds the text of a range, and so what judging one version by it costs.
const maxRange = 128

// versions are those that a filter lets through.
type versions struct {
	exact string // "": no text in particular
	in    *semver.Constraints
	known map[string]bool // whether each version that was asked for is in the range: instances share few
}

// parseVersions reads a version, a range of semantic versions, or nothing, which lets every version through.
func parseVersions(text string) (*versions, error) {
	if !isRange(text) {
		return &versions{exact: text}, nil
	}
	if len(text) > maxRange {
		return nil, fmt.Errorf("a range has at most %d bytes", maxRange)
	}
	in, err := semver.NewConstraint(text)
	if err != nil {
		return nil, fmt.Errorf("%s is no range of versions; write one such as \">=1.2 <2\", \"^1.4\", \"~1.4.2\" or \"1.4.x\"", quote(text))
	}
	return &versions{in: in, known: make(map[string]bool)}, nil
}

// isRange tells a range from a version as it stands in a record: it has an operator, a space, or a part x or *.
func isRange(text string) bool {
	if strings.ContainsAny(text, "<>=!~^*|, ") {
		return true
	}
	for part := range strings.SplitSeq(text, ".") {
		if part == "x" || part == "X" {
			return true
		}
	}
	return false
}

// has reports whether a version is let through. What is no semantic version is in no range.
func (v *versions) has(version string) bool {
	switch {
	case v == nil:
		return true
	case v.in == nil:
		return v.exact == "" || v.exact == version
	}
	in, ok := v.known[version]
	if !ok {
		parsed, err := semver.NewVersion(version)
		in = err == nil && v.in.Check(parsed)
		v.known[version] = in
	}
	return in
}
