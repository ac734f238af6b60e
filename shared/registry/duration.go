package registry

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Duration is a time.Duration that JSON writes as a Go string ("30s") and reads as one or as a whole
// number of nanoseconds.
type Duration time.Duration

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String writes whole hours, whole minutes from five up, and whole seconds with one unit ("24h", "5m",
// "90s"), which is how people write them; everything else as time.Duration does.
func (d Duration) String() string {
	std := time.Duration(d)
	switch {
	case std != 0 && std%time.Hour == 0:
		return strconv.FormatInt(int64(std/time.Hour), 10) + "h"
	case std >= 5*time.Minute && std%time.Minute == 0:
		return strconv.FormatInt(int64(std/time.Minute), 10) + "m"
	case std%time.Second == 0:
		return strconv.FormatInt(int64(std/time.Second), 10) + "s"
	default:
		return std.String()
	}
}

// MarshalJSON writes the string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads a Go duration string or integer nanoseconds.
func (d *Duration) UnmarshalJSON(data []byte) error {
	text := string(data)
	if data[0] == '"' {
		if err := json.Unmarshal(data, &text); err != nil {
			return fmt.Errorf("duration: %w", err)
		}
		std, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("duration: %w", err)
		}
		*d = Duration(std)
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("duration: want a string such as \"30s\" or integer nanoseconds: %w", err)
	}
	*d = Duration(n)
	return nil
}
