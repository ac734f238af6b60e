package laws

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	recordName = regexp.MustCompile(`^([0-9]{4})-[a-z0-9]+(-[a-z0-9]+)*\.md$`)
	recordDate = regexp.MustCompile(`(?m)^Date: [0-9]{4}-[0-9]{2}-[0-9]{2}$`)
)

// Records wants decision records to be numbered without a gap, each with its number, date and three parts.
func Records(t *Tree) ([]Violation, error) {
	const dir = "docs/decisions"
	entries, err := fs.ReadDir(t.FS, dir) // sorted by name
	if err != nil {
		return nil, err
	}
	var found []Violation
	next := 1
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		match := recordName.FindStringSubmatch(e.Name())
		if match == nil {
			found = append(found, Violation{name, "is not named NNNN-what-was-decided.md"})
			continue
		}
		if want := fmt.Sprintf("%04d", next); match[1] != want {
			found = append(found, Violation{name, "the next number is " + want})
		}
		next++
		data, err := fs.ReadFile(t.FS, name)
		if err != nil {
			return nil, err
		}
		text := string(data)
		if heading := "# " + strings.TrimLeft(match[1], "0") + ". "; !strings.HasPrefix(text, heading) {
			found = append(found, Violation{name, fmt.Sprintf("does not begin with %q", heading)})
		}
		if !recordDate.MatchString(text) {
			found = append(found, Violation{name, `has no line "Date: YYYY-MM-DD"`})
		}
		for _, part := range []string{"Context", "Decision", "Consequences"} {
			if !strings.Contains(text, "\n## "+part+"\n") {
				found = append(found, Violation{name, "has no part " + part})
			}
		}
	}
	return found, nil
}

var (
	unreleased = regexp.MustCompile(`^## \[Unreleased\]$`)
	released   = regexp.MustCompile(`^## \[[0-9]+\.[0-9]+\.[0-9]+\] - [0-9]{4}-[0-9]{2}-[0-9]{2}$`)
)

// Changelog wants CHANGELOG.md to begin with what is unreleased, and only the headings that its form has.
func Changelog(t *Tree) ([]Violation, error) {
	const name = "CHANGELOG.md"
	data, err := fs.ReadFile(t.FS, name)
	if err != nil {
		return nil, err
	}
	kinds := []string{"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
	var found []Violation
	releases := 0
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "## "):
			wanted := released
			if releases == 0 {
				wanted = unreleased
			}
			if !wanted.MatchString(line) {
				found = append(found, Violation{name, fmt.Sprintf("heading %q is not as %s", line, wanted)})
			}
			releases++
		case strings.HasPrefix(line, "### ") && !slices.Contains(kinds, strings.TrimPrefix(line, "### ")):
			found = append(found, Violation{name, fmt.Sprintf("heading %q is none of %v", line, kinds)})
		}
	}
	if releases == 0 {
		found = append(found, Violation{name, "has no [Unreleased]"})
	}
	return found, nil
}

var (
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	makeInline = regexp.MustCompile("`make ([a-z][a-z-]*)")
	makeInCode = regexp.MustCompile(`(?m)^(?:\$ )?make ([a-z][a-z-]*)`)
	targetLine = regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)
	codeFence  = regexp.MustCompile("(?ms)^```[^\n]*\n.*?\n```$")
)

// Documents wants what the Markdown files link to to be there, and the make targets that they name to exist.
func Documents(t *Tree) ([]Violation, error) {
	makefile, err := fs.ReadFile(t.FS, "Makefile")
	if err != nil {
		return nil, err
	}
	targets := map[string]bool{}
	for _, match := range targetLine.FindAllStringSubmatch(string(makefile), -1) {
		targets[match[1]] = true
	}
	var found []Violation
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		names, err := fs.Glob(t.FS, pattern)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			data, err := fs.ReadFile(t.FS, name)
			if err != nil {
				return nil, err
			}
			text := string(data)
			named := makeInline.FindAllStringSubmatch(text, -1)
			for _, code := range codeFence.FindAllString(text, -1) {
				named = append(named, makeInCode.FindAllStringSubmatch(code, -1)...)
			}
			for _, match := range named {
				if !targets[match[1]] {
					found = append(found, Violation{name, "names make " + match[1] + ", which the Makefile does not have"})
				}
			}
			for _, match := range link.FindAllStringSubmatch(codeFence.ReplaceAllString(text, ""), -1) {
				target, _, _ := strings.Cut(match[1], "#")
				if target == "" || strings.Contains(target, ":") {
					continue // within the page, or elsewhere
				}
				if _, err := fs.Stat(t.FS, path.Join(path.Dir(name), target)); err != nil {
					found = append(found, Violation{name, "links to " + match[1] + ", which is not there"})
				}
			}
		}
	}
	return found, nil
}
