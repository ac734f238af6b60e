// Package readme runs the commands that README.md shows, in its order, and compares what they print with
// what it says they print.
package readme

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Step is one command of a console block with the output that follows it.
type Step struct {
	Line    int    // of the command in the document
	Command string // may have several lines
	Want    string // expected output; see Matches
	Status  int    // expected exit status
}

var exitStatus = regexp.MustCompile(`\s# exit status ([0-9]+)\s*$`)

// Parse returns the steps of a Markdown document's ```console blocks. A line that begins with "$ " is a
// command and lines that begin with "> " right below continue it; all else is the command's output, none if
// there is none. A command that ends with the comment "# exit status N" is expected to end so, any other
// with 0.
func Parse(markdown string) ([]Step, error) {
	var steps []Step
	inBlock, inCommand := false, false
	number := 0
	for line := range strings.Lines(markdown) {
		number++
		line = strings.TrimRight(line, " \t\r\n")
		switch {
		case !inBlock:
			inBlock = line == "```console"
			inCommand = false
		case line == "```":
			inBlock = false
		case strings.HasPrefix(line, "$ "):
			steps = append(steps, Step{Line: number, Command: line[2:]})
			inCommand = true
		case len(steps) == 0:
			return nil, fmt.Errorf("line %d: output before the first command", number)
		case inCommand && (line == ">" || strings.HasPrefix(line, "> ")):
			steps[len(steps)-1].Command += "\n" + strings.TrimPrefix(line[1:], " ")
		default:
			inCommand = false
			steps[len(steps)-1].Want += line + "\n"
		}
	}
	if inBlock {
		return nil, fmt.Errorf("line %d: the last console block does not end", number)
	}
	for i, s := range steps {
		if match := exitStatus.FindStringSubmatch(s.Command); match != nil {
			status, err := strconv.Atoi(match[1])
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", s.Line, err)
			}
			steps[i].Status = status
		}
	}
	return steps, nil
}

// Matches compares output with what is expected of it, line by line. "…" stands for anything within a
// line, and for any number of lines where it is all there is on one. White space at the ends of lines and
// empty lines at the end do not count.
func Matches(want, got string) bool {
	var pattern strings.Builder
	pattern.WriteString(`\A`)
	for line := range strings.Lines(tidy(want)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "…" {
			pattern.WriteString(`(?:.*\n)*`)
			continue
		}
		for i, part := range strings.Split(line, "…") {
			if i > 0 {
				pattern.WriteString(`.*`)
			}
			pattern.WriteString(regexp.QuoteMeta(part))
		}
		pattern.WriteString(`\n`)
	}
	pattern.WriteString(`\z`)
	return regexp.MustCompile(pattern.String()).MatchString(tidy(got))
}

func tidy(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimRight(text, " \t\r\n")) {
		b.WriteString(strings.TrimRight(line, " \t\r\n"))
		b.WriteByte('\n')
	}
	return b.String()
}
