package registry

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"regexp"
	"strconv"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
)

// ETag identifies what a reader sees of an instance, apart from the end of its lease: heartbeats keep it.
func (i *Instance) ETag() string { return string(i.appendETag(nil)) }

func (i *Instance) appendETag(b []byte) []byte {
	b = strconv.AppendInt(append(b, '"'), i.Generation, 10)
	if i.Lapsed {
		b = append(b, "-lapsed"...)
	}
	if i.Status == Quarantined { // which comes and goes without the record
		b = append(b, "-quarantined"...)
	}
	return append(b, '"')
}

// ETagOf identifies a list of instances in the same way.
func ETagOf(instances []Instance, next string) string {
	var room [512]byte
	b := room[:0]
	for i := range instances {
		b = append(append(b, instances[i].ServiceID...), ' ')
		b = append(instances[i].appendETag(b), '\n')
	}
	sum := sha256.Sum256(append(b, next...))
	var tag [18]byte // 12 bytes and the quotes
	tag[0], tag[17] = '"', '"'
	base64.RawURLEncoding.Encode(tag[1:17], sum[:12])
	return string(tag[:])
}

// print stands for an instance in the state that its generation names. A journaled generation never comes twice.
func (e *entry) print() uint64 {
	sum := sha256.Sum256(strconv.AppendInt(append([]byte(e.ServiceID), ' '), e.generation, 10))
	return binary.BigEndian.Uint64(sum[:])
}

// Tag identifies what there is, as records, of a service by name or alias, of an environment, of both, or of all,
// as a watcher names it: it is the same in every process that has seen the same, whatever else was written.
func (v View) Tag(ref string, env auth.Environment) string {
	sums := v.snapshot.sums
	if ref != "" {
		sums = [environmentCount]uint64{}
		if name, ok := v.ServiceName(ref); ok {
			s, _ := v.snapshot.services.get(name)
			for at, p := range s.pools {
				if p != nil {
					sums[at] = p.sum
				}
			}
		}
	}
	var sum uint64
	for at, s := range sums {
		if env == "" || at == place(env) {
			sum += s
		}
	}
	return `"` + strconv.FormatUint(sum, 36) + `"`
}

var generationTag = regexp.MustCompile(`^"([1-9][0-9]{0,17})(-lapsed)?(-quarantined)?"$`)

// ParseIfMatch reads an If-Match header for Call.IfMatch: one of our tags, or * for any. The empty header
// demands nothing. ok is false for everything else, weak tags and lists among it, which match nothing
// that was ever given to anyone: the answer to those is 412, as for any tag that does not match.
func ParseIfMatch(header string) (generation int64, ok bool) {
	switch header = strings.TrimSpace(header); header {
	case "":
		return 0, true
	case "*":
		return AnyGeneration, true
	}
	tag := generationTag.FindStringSubmatch(header)
	if tag == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(tag[1], 10, 64)
	return n, err == nil
}
