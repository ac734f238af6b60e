package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/bits"
	"strconv"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

// The bounds of a rate.
const (
	MaxRequests = 1_000_000_000
	minPeriod   = time.Second
	maxPeriod   = 24 * time.Hour
)

// RateLimit is a rate as the document says it: so many requests in so long a time.
type RateLimit struct {
	Requests int64
	Per      time.Duration
}

// MarshalJSON writes the period as a Go duration string.
func (l RateLimit) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Requests int64  `json:"requests"`
		Per      string `json:"per"`
	}{l.Requests, periodText(l.Per)})
}

// String writes the rate as 1000/1m.
func (l RateLimit) String() string {
	return strconv.FormatInt(l.Requests, 10) + "/" + periodText(l.Per)
}

// periodText writes a period with one unit where one does, as people write them.
func periodText(d time.Duration) string {
	switch {
	case d >= time.Hour && d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d >= time.Minute && d%time.Minute == 0:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	default:
		return d.String()
	}
}

// compare orders rates by how much they let through over a long time, those that let through the same by
// how much they let through at once.
func (l RateLimit) compare(o RateLimit) int {
	// The products have up to 77 bits.
	lhi, llo := bits.Mul64(uint64(l.Requests), uint64(o.Per)) //nolint:gosec // G115: neither is negative
	ohi, olo := bits.Mul64(uint64(o.Requests), uint64(l.Per)) //nolint:gosec // G115: neither is negative
	return cmp.Or(cmp.Compare(lhi, ohi), cmp.Compare(llo, olo), cmp.Compare(l.Requests, o.Requests))
}

// Limit is the rate that a request counts against. What is counted together is what the caller asks with
// the same Limit in one environment.
type Limit struct {
	RateLimit

	// Target is set when the rate is that of an edge, against which the requests over such edges to this
	// target count, and no others. Otherwise it is the caller's own rate, against which all of its
	// requests count that no edge has a rate for.
	Target auth.Subject
}

// DefaultRate is what the platform allows where the policy says nothing, unless it is configured otherwise.
// Comparing policies goes by it.
var DefaultRate = RateLimit{Requests: 1000, Per: time.Minute}

func (l Limit) orDefault() RateLimit {
	if l.Requests == 0 {
		return DefaultRate
	}
	return l.RateLimit
}

// smaller returns the smaller one of two limits; nil is none.
func smaller(a, b *Limit) *Limit {
	if a == nil || b != nil && b.compare(a.RateLimit) < 0 {
		return b
	}
	return a
}

// rateLimit reads a rate. What it cannot read it leaves zero, which check refuses where that was not an
// error of form already.
func (d *decoder) rateLimit(into **RateLimit) func(path string) {
	return func(path string) {
		l := new(RateLimit)
		*into = l
		d.object(path, members{
			"requests": func(path string) { l.Requests = d.integer(path) },
			"per":      func(path string) { l.Per = d.duration(path) },
		})
	}
}

// integer reads a whole number.
func (d *decoder) integer(path string) int64 {
	token, ok := d.open(path, '0', "a number")
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(token.String(), 10, 64)
	if err != nil {
		d.errorf(path, "number_form", "This must be a whole number.")
	}
	return n
}

// duration reads a Go duration string or a whole number of nanoseconds.
func (d *decoder) duration(path string) time.Duration {
	if d.failed == nil && d.in.PeekKind() == '0' {
		return time.Duration(d.integer(path))
	}
	token, ok := d.open(path, '"', `a duration such as "1m"`)
	if !ok {
		return 0
	}
	period, err := time.ParseDuration(token.String())
	if err != nil {
		d.errorf(path, "duration_form", `A duration is written like "30s", "1m" or "24h".`)
	}
	return period
}

// rate checks a rate, where there is one.
func (c *checker) rate(path string, l *RateLimit) {
	if l == nil {
		return
	}
	if l.Requests < 1 || l.Requests > MaxRequests {
		c.errorf(path+".requests", "rate_bounds", "A rate counts 1 to %d requests.", MaxRequests)
	}
	if l.Per < minPeriod || l.Per > maxPeriod {
		c.errorf(path+".per", "rate_bounds", "A rate is per 1s to 24h.")
	}
}

// clone returns a copy for changing.
func (l *RateLimit) clone() *RateLimit {
	if l == nil {
		return nil
	}
	c := *l
	return &c
}

// limit makes the limit of a rate; none of none.
func (l *RateLimit) limit(target auth.Subject) *Limit {
	if l == nil {
		return nil
	}
	return &Limit{RateLimit: *l, Target: target}
}

// detail says what a request counts against, for explanations.
func (l *Limit) detail(caller auth.Subject) string {
	switch {
	case l == nil:
		return "The policy says no rate; the platform's own holds."
	case l.Target.IsZero():
		return fmt.Sprintf("%s may ask %s.", caller, l.RateLimit)
	default:
		return fmt.Sprintf("%s may ask %s %s this way.", caller, l.Target, l.RateLimit)
	}
}
