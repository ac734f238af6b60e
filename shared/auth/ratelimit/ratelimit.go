// Package ratelimit counts how much each caller asks, by the generic cell rate algorithm (GCRA, ITU-T I.371):
// all that is kept of a caller is one instant, the theoretical arrival time (TAT), before which it has used up
// what it may ask. A limit of 1000/1m lets 1000 requests through at once and then one each 60 ms; in no stretch
// of time t more than 1000 + t/60 ms.
//
// Limit decides, purely, from that instant and the time; Memory keeps the instants of many callers in this
// process.
package ratelimit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

// The bounds of a limit.
const (
	MaxRequests = 1_000_000_000
	MaxPeriod   = 24 * time.Hour
)

// ErrInvalid is wrapped by the errors about a limit that is none.
var ErrInvalid = errors.New("invalid rate limit")

// Limit lets so many requests through in so long a time. The zero Limit lets all through.
type Limit struct {
	Requests int64
	Per      time.Duration
}

// Parse reads a limit of the form 1000/1m; 0 and off are none.
func Parse(text string) (Limit, error) {
	if text == "0" || text == "off" {
		return Limit{}, nil
	}
	count, period, ok := strings.Cut(text, "/")
	requests, err := strconv.ParseInt(count, 10, 64)
	if !ok || err != nil {
		return Limit{}, fmt.Errorf("%w: want a number of requests and a time, such as 1000/1m, or off", ErrInvalid)
	}
	per, err := time.ParseDuration(period)
	if err != nil {
		return Limit{}, fmt.Errorf("%w: after the slash a duration such as 1m is wanted", ErrInvalid)
	}
	l := Limit{Requests: requests, Per: per}
	if requests < 1 || requests > MaxRequests || per < time.Millisecond || per > MaxPeriod {
		return Limit{}, fmt.Errorf("%w: want 1 to %d requests per 1ms to 24h", ErrInvalid, MaxRequests)
	}
	return l, nil
}

// EnvDecode parses the value of an environment variable.
func (l *Limit) EnvDecode(value string) (err error) {
	*l, err = Parse(value)
	return err
}

// IsZero reports whether everything is let through.
func (l Limit) IsZero() bool { return l.Requests <= 0 || l.Per <= 0 }

// String writes the limit as Parse reads it.
func (l Limit) String() string {
	if l.IsZero() {
		return "off"
	}
	return strconv.FormatInt(l.Requests, 10) + "/" + l.Per.String()
}

// Interval is the time in which one more request may be asked, rounded up, so that no more than the limit
// says is let through.
func (l Limit) Interval() time.Duration {
	return (l.Per + time.Duration(l.Requests) - 1) / time.Duration(l.Requests)
}

// Decision says whether a request is let through, and how the caller stands after it.
type Decision struct {
	Allowed    bool
	Remaining  int64         // requests that would be let through at once
	RetryAfter time.Duration // until the next one is; 0 where one would be now
	ResetAfter time.Duration // until all of the limit's requests are there again
}

// Ask decides on a request at a time, of a caller whose TAT is known; both in nanoseconds of one clock. It
// returns the TAT to keep, which is the old one where the request is refused. A TAT further ahead than this
// limit can have brought about, as after a change of the limit or a step back of the clock, counts as the
// furthest that it can.
func (l Limit) Ask(tat, now int64) (Decision, int64) {
	interval := int64(l.Interval())
	full := interval * l.Requests // at most MaxPeriod and a bit
	ahead := min(max(tat-now, 0), full)
	allowed := ahead+interval <= full
	if allowed {
		ahead += interval
	}
	return l.Standing(allowed, time.Duration(ahead)), now + ahead
}

// Standing is the decision of a request after which the TAT is so far ahead of the time.
func (l Limit) Standing(allowed bool, ahead time.Duration) Decision {
	interval := l.Interval()
	left := max(interval*time.Duration(l.Requests)-ahead, 0)
	d := Decision{Allowed: allowed, Remaining: int64(left / interval), ResetAfter: ahead}
	if left < interval {
		d.RetryAfter = interval - left
	}
	return d
}

// Key names whose requests are counted together: those of a caller in one environment, and where an edge of the
// policy has a rate of its own, those over edges of that rate to its target apart.
type Key struct {
	Caller      auth.Subject
	Environment auth.Environment // empty for operators
	Target      auth.Subject     // zero: all that no edge has a rate for
	Rate        Limit            // of the edge; zero without a target
}

// String is the key as it stands in shared stores: the subject; behind @ its environment, unless that is
// production; behind | the target and the rate. No two keys read the same: no name of a service holds @, and no
// name |.
func (k Key) String() string {
	text := k.Caller.String()
	if k.Environment != "" && k.Environment != auth.Production {
		text += "@" + string(k.Environment)
	}
	if !k.Target.IsZero() {
		text += "|" + k.Target.String() + "|" + k.Rate.String()
	}
	return text
}
