package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"maps"
	"slices"
	"strconv"

	"github.com/isectech/service-networking/shared/auth"
)

// A page token is the id of the last instance given, after a version and a digest of the filter, by
// which a token that belongs to another question is refused. It holds no secret, and forging one gives
// nothing that asking does not.
const (
	tokenVersion = 1
	tokenDigest  = 8
	maxToken     = 128
)

func (f Filter) token(last string) string {
	return base64.RawURLEncoding.EncodeToString(append(append([]byte{tokenVersion}, f.digest()...), last...))
}

// cursor returns the id after which the page begins.
func (f Filter) cursor() (string, error) {
	if f.PageToken == "" {
		return "", nil
	}
	invalid := &InvalidError{[]Finding{{"page_token", codeInvalid, "this is no page token of this question"}}}
	if len(f.PageToken) > maxToken {
		return "", invalid
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(f.PageToken)
	if err != nil || len(data) <= 1+tokenDigest || data[0] != tokenVersion ||
		!bytes.Equal(data[1:1+tokenDigest], f.digest()) || !auth.ValidID(string(data[1+tokenDigest:])) {
		return "", invalid
	}
	return string(data[1+tokenDigest:]), nil
}

func (f Filter) digest() []byte {
	h := sha256.New()
	parts := []string{f.Name, string(f.Environment), f.Region, f.Version, string(f.Status), strconv.Itoa(len(f.Tags))}
	parts = append(parts, f.Tags...)
	for _, key := range slices.Sorted(maps.Keys(f.Metadata)) {
		parts = append(parts, key, f.Metadata[key])
	}
	for _, part := range parts {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		_, _ = h.Write([]byte(part))
	}
	return h.Sum(nil)[:tokenDigest]
}
