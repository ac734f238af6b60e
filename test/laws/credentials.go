package laws

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
)

// credentials are the shapes of what opens something. None needs to be in a repository, in a test least
// of all: a key takes microseconds to make. The patterns do not match their own source.
var credentials = []struct {
	what    string
	pattern *regexp.Regexp
}{
	// The header alone is what a parser looks for; a key has what follows, in a file or in a literal.
	{"a private key", regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?:\\[nr]|[\s"+` + "`" + `])*[A-Za-z0-9+/]{20}`)},
	{"a private JSON Web Key", regexp.MustCompile(`\\?"d\\?"\s*:\s*\\?"[A-Za-z0-9_-]{40,}\\?"`)},
	{"a service account's key", regexp.MustCompile(`\\?"private_key_id\\?"\s*:\s*\\?"[0-9a-f]{40}`)},
	{"a Google API key", regexp.MustCompile(`\bAIza[0-9A-Za-z_-]{35}\b`)},
	{"a Google OAuth secret", regexp.MustCompile(`\bGOCSPX-[0-9A-Za-z_-]{28}\b`)},
	{"an AWS access key", regexp.MustCompile(`\bAKIA[0-9A-Z]{16}\b`)},
	{"a GitHub token", regexp.MustCompile(`\bgh[pousr]_[0-9A-Za-z]{36}\b`)},
}

// Credentials returns those of the named files that hold one, committed or about to be.
func Credentials(fsys fs.FS, names []string) ([]Violation, error) {
	var found []Violation
	for _, name := range names {
		data, err := fs.ReadFile(fsys, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed, not yet committed
		}
		if err != nil {
			return nil, err
		}
		for _, c := range credentials {
			if at := c.pattern.FindIndex(data); at != nil {
				line := 1 + bytes.Count(data[:at[0]], []byte("\n"))
				found = append(found, Violation{fmt.Sprintf("%s:%d", name, line), "looks like " + c.what})
			}
		}
	}
	return found, nil
}
