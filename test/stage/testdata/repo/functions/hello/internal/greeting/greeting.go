// Package greeting has the text.
package greeting

import _ "embed"

// Text is what the function says.
//
//go:embed text.txt
var Text []byte
