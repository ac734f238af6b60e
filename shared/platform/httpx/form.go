package httpx

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// Values are parameters of which each occurs at most once.
type Values map[string]string

// Query returns the query's parameters. One that is malformed, occurs twice or is not among the names is
// refused, since a filter that is silently ignored answers another question.
func Query(r *http.Request, names ...string) (Values, error) {
	return parseValues(r.URL.RawQuery, names)
}

// Form reads a body of application/x-www-form-urlencoded and returns its parameters. Parameters of the URL
// do not count. Without names every parameter is let through, since RFC 6749 §3.2 wants unknown ones
// ignored.
func Form(r *http.Request, names ...string) (Values, error) {
	const form = "application/x-www-form-urlencoded"
	if err := wantMediaType(r, func(t string) bool { return t == form }, form); err != nil {
		return nil, err
	}
	body, err := ReadBody(r, 0)
	if err != nil {
		return nil, err
	}
	return parseValues(string(body), names)
}

// QueryLists is Query for requests some of whose parameters may occur more than once: those that repeated says yes
// to come back as lists.
func QueryLists(r *http.Request, repeated func(name string) bool, names ...string) (Values, map[string][]string, error) {
	return parseLists(r.URL.RawQuery, repeated, names)
}

func parseValues(raw string, names []string) (Values, error) {
	values, _, err := parseLists(raw, func(string) bool { return false }, names)
	return values, err
}

func parseLists(raw string, repeated func(name string) bool, names []string) (Values, map[string][]string, error) {
	parsed, err := url.ParseQuery(raw)
	if err != nil {
		return nil, nil, InvalidRequest("the parameters are malformed").Because(err)
	}
	var faults []FieldError
	values, lists := make(Values, len(parsed)), make(map[string][]string)
	for name, all := range parsed {
		switch {
		case repeated(name):
			lists[name] = all
		case len(names) > 0 && !slices.Contains(names, name):
			faults = append(faults, FieldError{Field: clip(name, 64), Message: "unknown parameter"})
		case len(all) > 1:
			faults = append(faults, FieldError{Field: clip(name, 64), Message: "occurs more than once"})
		default:
			values[name] = all[0]
		}
	}
	if len(faults) > 0 {
		slices.SortFunc(faults, func(a, b FieldError) int {
			if a.Field < b.Field {
				return -1
			}
			return 1
		})
		return nil, nil, InvalidRequest("the parameters are not what they must be", faults...)
	}
	return values, lists, nil
}

// Has reports whether a parameter was given, be it empty.
func (v Values) Has(name string) bool { _, ok := v[name]; return ok }

// Int returns a parameter as a whole number between low and high, or fallback when it was not given.
func (v Values) Int(name string, fallback, low, high int64) (int64, error) {
	s, ok := v[name]
	if !ok {
		return fallback, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < low || n > high {
		return 0, InvalidRequest("a parameter is malformed", FieldError{
			Field:   name,
			Message: "want a whole number between " + strconv.FormatInt(low, 10) + " and " + strconv.FormatInt(high, 10),
		})
	}
	return n, nil
}

// Duration returns a parameter as a duration between nothing and high, or fallback when it was not given.
func (v Values) Duration(name string, fallback, high time.Duration) (time.Duration, error) {
	s, ok := v[name]
	if !ok {
		return fallback, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > high {
		return 0, InvalidRequest("a parameter is malformed", FieldError{
			Field: name, Message: "want a duration between 0s and " + high.String(),
		})
	}
	return d, nil
}

// Bool returns a parameter that is true or false, or false when it was not given.
func (v Values) Bool(name string) (bool, error) {
	switch s, ok := v[name]; {
	case !ok, s == "false":
		return false, nil
	case s == "true":
		return true, nil
	}
	return false, InvalidRequest("a parameter is malformed", FieldError{Field: name, Message: "want true or false"})
}
