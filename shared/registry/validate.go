package registry

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry/endpoint"
)

// The bounds of a registration.
const (
	MaxBody   = 64 << 10 // bytes of JSON
	MaxWeight = 1000
	MinLease  = time.Second
	MaxLease  = 24 * time.Hour

	maxEndpoints  = 32
	maxMethods    = 16
	maxTags       = 64
	maxTagBytes   = 128
	maxMetadata   = 64
	maxKeyBytes   = 128
	maxValueBytes = 1024
	maxVersion    = 64
	maxInterval   = time.Hour
	minTimeout    = 10 * time.Millisecond
	maxThreshold  = 100
)

// Rules are what a registration is checked by besides its own sense.
type Rules struct {
	Names         Names         // nil: names are checked by their form alone
	AllowLoopback bool          // endpoints on this machine, in the development environment
	MinInterval   time.Duration // shortest interval of a health check; 0 means 5 seconds
}

// defaultMinInterval is the shortest interval of health checks where the rules say nothing else.
const defaultMinInterval = 5 * time.Second

// Check returns everything that is wrong with a registration, in the order of its fields.
func (r Registration) Check(rules Rules) []Finding {
	var f findings
	r.check(rules, &f)
	return f.all()
}

func (r Registration) check(rules Rules, f *findings) {
	r.checkNames(rules.Names, f)
	if !printable(r.Version, maxVersion) || strings.Contains(r.Version, " ") {
		f.addf("version", codeInvalid, "a version has at most %d printable characters and no spaces", maxVersion)
	}
	if r.Environment == "" {
		f.addf("environment", codeRequired, "a registration says where the instance runs")
	} else if _, err := auth.ParseEnvironment(string(r.Environment)); err != nil {
		f.addf("environment", codeInvalid, "the environment is one of production, staging and development")
	}
	if r.Region != "" && !auth.ValidID(r.Region) {
		f.addf("region", codeInvalid, "a region has at most 63 characters a-z, 0-9 and hyphens")
	}
	r.checkEndpoints(rules, f)
	r.checkHealth(rules, f)
	r.checkMetadata(f)
	r.checkTags(f)
	r.checkWeight(f)
	if d := r.Lease.Std(); d != 0 && (d < MinLease || d > MaxLease) {
		f.addf("lease", codeOutOfRange, `a lease lasts from %s to %s; "0s" means that it never ends`, Duration(MinLease), Duration(MaxLease))
	}
}

func (r Registration) checkEndpoints(rules Rules, f *findings) {
	if len(r.Endpoints) > maxEndpoints {
		f.addf("endpoints", codeTooMany, "%d are too many; at most %d are allowed", len(r.Endpoints), maxEndpoints)
		return
	}
	var policy endpoint.Policy
	if rules.AllowLoopback && r.Environment == auth.Development {
		policy.Allow = endpoint.LoopbackNetworks()
	}
	names := make(map[string]bool)
	for i, e := range r.Endpoints {
		path := index("endpoints", i)
		switch {
		case e.Name == "":
			f.addf(member(path, "name"), codeRequired, "an endpoint has a name")
		case !auth.ValidID(e.Name):
			f.addf(member(path, "name"), codeInvalid, "an endpoint's name matches ^[a-z0-9][a-z0-9-]{0,62}$")
		case names[e.Name]:
			f.addf(member(path, "name"), codeDuplicate, "another endpoint has this name")
		}
		names[e.Name] = true
		e.check(path, policy, f)
	}
}

// protocols lists, for each protocol, the schemes of URL that it is spoken at.
var protocols = map[string][]string{
	"http": {"http"}, "https": {"https"}, "tcp": {"tcp"}, "tls": {"tls"},
	"grpc":  {"grpc", "http"},
	"grpcs": {"grpcs", "https"},
}

func (e Endpoint) check(path string, policy endpoint.Policy, f *findings) {
	schemes, known := protocols[e.Protocol]
	u, err := policy.Judge(e.URL)
	var refusal *endpoint.Refusal
	switch {
	case e.URL == "":
		f.addf(member(path, "url"), codeRequired, "an endpoint has a URL")
	case errors.As(err, &refusal):
		f.addf(member(path, "url"), string(refusal.Reason), "%s", refusal.Detail)
	case u.HasQuery:
		f.addf(member(path, "url"), codeInvalid, "an endpoint's URL has no query")
	case known && !slices.Contains(schemes, u.Scheme):
		f.addf(member(path, "protocol"), codeMismatch, "the URL's scheme is %s, which %s is not spoken at", u.Scheme, e.Protocol)
	}
	if !known {
		if e.Protocol != "" || err == nil {
			f.addf(member(path, "protocol"), codeInvalid, "the protocol is one of %s", strings.Join(endpoint.Schemes(), ", "))
		}
	}
	switch {
	case e.Port == 0 && err != nil:
		// the URL would have said it
	case e.Port < 1 || e.Port > 65535:
		f.addf(member(path, "port"), codeOutOfRange, "a port is a number from 1 to 65535")
	case err == nil && e.Port != int(u.Port):
		f.addf(member(path, "port"), codeMismatch, "the URL's port is %d", u.Port)
	}
	if e.Path != "" {
		if errors.As(endpoint.CheckPath(e.Path), &refusal) {
			f.addf(member(path, "path"), codeInvalid, "%s", refusal.Detail)
		}
	}
	e.checkMethods(member(path, "methods"), f)
}

func (e Endpoint) checkMethods(path string, f *findings) {
	if len(e.Methods) > maxMethods {
		f.addf(path, codeTooMany, "%d are too many; at most %d are allowed", len(e.Methods), maxMethods)
		return
	}
	for i, m := range e.Methods {
		switch m {
		case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
			http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		default:
			f.addf(index(path, i), codeInvalid, "this is no HTTP method in capital letters")
		}
		if slices.Contains(e.Methods[:i], m) {
			f.addf(index(path, i), codeDuplicate, "this method stands here twice")
		}
	}
}

func (r Registration) checkHealth(rules Rules, f *findings) {
	h := r.HealthCheck
	shortest := rules.MinInterval
	if shortest == 0 {
		shortest = defaultMinInterval
	}
	if h.Enabled && len(r.Endpoints) == 0 {
		f.addf("health_check.enabled", codeMismatch, "there is no endpoint to check")
	}
	var refusal *endpoint.Refusal
	if h.Path != "" && errors.As(endpoint.CheckPathQuery(h.Path), &refusal) {
		f.addf("health_check.path", codeInvalid, "%s", refusal.Detail)
	}
	if d := h.Interval.Std(); d != 0 && (d < shortest || d > maxInterval) {
		f.addf("health_check.interval", codeOutOfRange, "an interval is from %s to %s", Duration(shortest), Duration(maxInterval))
	}
	switch d := h.Timeout.Std(); {
	case d == 0:
	case d < minTimeout || d > maxInterval:
		f.addf("health_check.timeout", codeOutOfRange, "a timeout is from %s to %s", Duration(minTimeout), Duration(maxInterval))
	case h.Interval != 0 && h.Timeout > h.Interval:
		f.addf("health_check.timeout", codeMismatch, "a check must time out before the next one begins, after %s", h.Interval)
	}
	if h.HealthyThreshold < 0 || h.HealthyThreshold > maxThreshold {
		f.addf("health_check.healthy_threshold", codeOutOfRange, "a threshold is a number from 1 to %d", maxThreshold)
	}
	if h.UnhealthyThreshold < 0 || h.UnhealthyThreshold > maxThreshold {
		f.addf("health_check.unhealthy_threshold", codeOutOfRange, "a threshold is a number from 1 to %d", maxThreshold)
	}
}

func (r Registration) checkMetadata(f *findings) {
	if len(r.Metadata) > maxMetadata {
		f.addf("metadata", codeTooMany, "%d are too many; at most %d are allowed", len(r.Metadata), maxMetadata)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(r.Metadata)) {
		if key == "" || !printable(key, maxKeyBytes) {
			f.addf(member("metadata", key), codeInvalid, "a key has 1 to %d bytes of printable text", maxKeyBytes)
		} else if !printable(r.Metadata[key], maxValueBytes) {
			f.addf(member("metadata", key), codeInvalid, "a value has at most %d bytes of printable text", maxValueBytes)
		}
	}
}

func (r Registration) checkTags(f *findings) {
	if len(r.Tags) > maxTags {
		f.addf("tags", codeTooMany, "%d are too many; at most %d are allowed", len(r.Tags), maxTags)
		return
	}
	for i, tag := range r.Tags {
		if tag == "" || !printable(tag, maxTagBytes) {
			f.addf(index("tags", i), codeInvalid, "a tag has 1 to %d bytes of printable text", maxTagBytes)
		} else if slices.Contains(r.Tags[:i], tag) {
			f.addf(index("tags", i), codeDuplicate, "this tag stands here twice")
		}
	}
}

func (r Registration) checkWeight(f *findings) {
	if r.Weight < 0 || r.Weight > MaxWeight {
		f.addf("weight", codeOutOfRange, "a weight is a number from 0 (never picked) to %d", MaxWeight)
	}
}

// printable reports whether s is valid UTF-8 of at most limit bytes without anything that hides, breaks
// or reorders text: control and format characters, line separators, private and unassigned code points.
func printable(s string, limit int) bool {
	if len(s) > limit || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r == utf8.RuneError || r != ' ' && !unicode.IsGraphic(r) || r > ' ' && unicode.IsSpace(r) {
			return false
		}
	}
	return true
}
