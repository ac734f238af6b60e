package redis

import (
	"context"
	"strconv"
	"time"

	"github.com/isectech/service-networking/shared/auth/ratelimit"
)

// limitPrefix begins the keys of rate limits; what follows is ratelimit.Key's text: the subject, and behind it
// its environment unless that is production, and the target of an edge that has a rate of its own.
const limitPrefix = "ratelimit:"

// takeScript is ratelimit.Limit.Ask with Redis's clock, which is one for all instances, in microseconds: what is
// kept is the TAT, until it passes. It returns whether the request is let through, and how far ahead the TAT is
// then. What is no number, or further ahead than the limit allows, was not written by it.
const takeScript = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, full = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.pcall('GET', KEYS[1])
local ahead = 0
if type(kept) == 'string' and string.find(kept, '^%d+$') then
  ahead = math.min(math.max(tonumber(kept) - now, 0), full)
end
if ahead + interval > full then
  return {0, ahead}
end
ahead = ahead + interval
redis.call('SET', KEYS[1], string.format('%.0f', now + ahead), 'PX', math.ceil(ahead / 1000))
return {1, ahead}
`

// Limits counts what callers ask in Redis, for all instances together, with one round trip a request. While Redis
// gives no usable answer each instance counts for itself.
type Limits struct {
	client  *Client
	alone   *ratelimit.Memory
	observe func(shared bool)
}

// NewLimits returns the limits in a Redis, with those that stand in for them. observe, which may be nil, is told
// of each request where it was counted; it must be quick.
func NewLimits(client *Client, alone *ratelimit.Memory, observe func(shared bool)) *Limits {
	if observe == nil {
		observe = func(bool) {}
	}
	return &Limits{client, alone, observe}
}

// Take counts a request and decides on it. It always has an answer.
func (l *Limits) Take(ctx context.Context, key ratelimit.Key, limit ratelimit.Limit) ratelimit.Decision {
	if limit.IsZero() {
		return ratelimit.Decision{Allowed: true}
	}
	interval := max((limit.Interval()+time.Microsecond-1)/time.Microsecond, 1)
	full := int64(interval) * limit.Requests
	values, err := l.client.Run(ctx, takeScript, []string{limitPrefix + key.String()},
		[]string{strconv.FormatInt(int64(interval), 10), strconv.FormatInt(full, 10)})
	if err == nil && len(values) == 2 && (values[0] == "0" || values[0] == "1") {
		if ahead, err := strconv.ParseInt(values[1], 10, 64); err == nil && ahead >= 0 && ahead <= full {
			l.observe(true)
			return limit.Standing(values[0] == "1", time.Duration(ahead)*time.Microsecond)
		}
	}
	l.observe(false)
	return l.alone.Take(ctx, key, limit)
}
