package registry

import (
	"slices"

	"github.com/isectech/service-networking/shared/auth"
)

// Filter says which instances a list holds; what is empty does not narrow it.
type Filter struct {
	Name        string // a service's name or alias
	Environment auth.Environment
	Region      string
	Version     string            // a version as it was registered, or a range of semantic versions such as ">=1.2 <2", "^1.4", "1.4.x"
	Tags        []string          // all of them
	Metadata    map[string]string // likewise
	Status      Status            // with a lease that has not ended: a lapsed instance is in no status anyone may rely on
	Limit       int               // 1–MaxPage; 0 means DefaultPage
	PageToken   string            // Listing.Next of the same filter

	versions *versions // Version, read; nil lets every version through
}

// The sizes of pages.
const (
	MaxPage     = 500
	DefaultPage = 100
)

// Listing is a part of a list.
type Listing struct {
	Instances []Instance // by id; never nil
	Next      string     // "" at the end
}

// usualPage is how many instances there is room for at once: what most services have.
const usualPage = 4

// maxLooked bounds the instances that are looked at for one page.
const maxLooked = 10_000

// List returns a page of the instances that the filter lets through. Its only error is ErrInvalid.
// Paging gives every instance that matches throughout exactly once, whatever else changes meanwhile. A page
// of a filter that lets few through may hold fewer than the limit, or none, and still not be the last.
func (v View) List(f Filter) (Listing, error) {
	versions, found := f.check()
	f.versions = versions
	if len(found) > 0 {
		return Listing{}, &InvalidError{found}
	}
	page := Listing{Instances: []Instance{}}
	after, err := f.cursor()
	if err != nil {
		return Listing{}, err
	}
	narrowed := f
	if f.Name != "" {
		name, ok := v.ServiceName(f.Name)
		if !ok {
			return page, nil
		}
		narrowed.Name = name
	}
	limit := f.Limit
	if limit == 0 {
		limit = DefaultPage
	}
	page.Instances = make([]Instance, 0, min(limit, usualPage))
	search := narrowed
	if v.isolation != nil {
		search.Status = "" // the index knows the statuses of the records alone
	}
	kind, term := search.narrowest()
	looked, last := 0, after
	for id := range v.snapshot.postings.ids(kind, term, after) {
		if looked == maxLooked {
			page.Next = f.token(last)
			break
		}
		looked, last = looked+1, id
		e, _ := v.snapshot.entries.get(id)
		if !v.lets(narrowed, e) {
			continue
		}
		if len(page.Instances) == limit {
			page.Next = f.token(page.Instances[limit-1].ServiceID)
			break
		}
		page.Instances = append(page.Instances, v.instance(e))
	}
	return page, nil
}

func (f Filter) check() (*versions, []Finding) {
	var found findings
	versions, err := parseVersions(f.Version)
	if err != nil {
		found.addf("version", codeInvalid, "%s", err)
	}
	if len(f.Tags) > maxTags {
		found.addf("tag", codeTooMany, "%d are too many; at most %d are allowed", len(f.Tags), maxTags)
	}
	if len(f.Metadata) > maxMetadata {
		found.addf("metadata", codeTooMany, "%d are too many; at most %d are allowed", len(f.Metadata), maxMetadata)
	}
	if f.Limit < 0 || f.Limit > MaxPage {
		found.addf("limit", codeOutOfRange, "a limit is a number from 1 to %d", MaxPage)
	}
	if f.Status != "" && f.Status.ordinal() < 0 {
		found.addf("status", codeInvalid, "there is no such status")
	}
	if f.Environment != "" && place(f.Environment) < 0 {
		found.addf("environment", codeInvalid, "the environment is one of production, staging and development")
	}
	return versions, found.all()
}

// narrowest returns the index to read, which is most likely the shortest.
func (f Filter) narrowest() (kind postingKind, term string) {
	switch {
	case f.Name != "":
		return byName, f.Name
	case len(f.Tags) > 0:
		return byTag, f.Tags[0]
	case f.Region != "":
		return byRegion, f.Region
	case f.Status != "":
		return byStatus, string(f.Status)
	case f.Environment != "":
		return byEnvironment, string(f.Environment)
	default:
		return byID, ""
	}
}

// lets reports whether a filter lets an instance through.
func (v View) lets(f Filter, e *entry) bool {
	if f.Name != "" && e.ServiceName != f.Name || f.Environment != "" && e.Environment != f.Environment ||
		f.Region != "" && e.Region != f.Region || !f.versions.has(e.Version) ||
		f.Status != "" && (v.status(e) != f.Status || e.lapsed(v.now)) {
		return false
	}
	for _, tag := range f.Tags {
		if !slices.Contains(e.Tags, tag) {
			return false
		}
	}
	for key, value := range f.Metadata {
		if has, ok := e.Metadata[key]; !ok || has != value {
			return false
		}
	}
	return true
}
