// Package docs writes the parts of the documentation that follow from the code, and notices when they no
// longer do. `make docs` runs its tests with -update.
package docs

import (
	"fmt"
	"regexp"
	"strings"
)

var marked = regexp.MustCompile(`(?s)<!-- generated: ([a-z-]+) -->\n.*?<!-- end -->`)

// Replace puts each text in the place that a page keeps for it, between "<!-- generated: NAME -->" and
// "<!-- end -->". Page and texts must name the same places, each once.
func Replace(page string, texts map[string]string) (string, error) {
	placed := map[string]bool{}
	var unknown []string
	page = marked.ReplaceAllStringFunc(page, func(place string) string {
		name := marked.FindStringSubmatch(place)[1]
		text, ok := texts[name]
		if !ok || placed[name] {
			unknown = append(unknown, name)
			return place
		}
		placed[name] = true
		return fmt.Sprintf("<!-- generated: %s -->\n%s\n<!-- end -->", name, strings.TrimSpace(text))
	})
	if len(unknown) > 0 {
		return "", fmt.Errorf("nothing to put into the place of %v", unknown)
	}
	for name := range texts {
		if !placed[name] {
			return "", fmt.Errorf("no place for %s", name)
		}
	}
	return page, nil
}
