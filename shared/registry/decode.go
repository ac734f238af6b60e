package registry

// Decode reads a registration strictly and fills in defaults. The findings are all faults of its form;
// Registration.Check finds those of its meaning. What could not be read is left out of the result, so
// Check should run only where there are no findings. DecodeAndCheck does both.
func Decode(data []byte) (Registration, []Finding) {
	reg, r := decodeRegistration(data)
	return reg, r.all()
}

// DecodeAndCheck reads a registration and checks it by rules. All findings come at once: a field whose
// form is wrong has one of that, the others are checked by their meaning.
func DecodeAndCheck(data []byte, rules Rules) (Registration, []Finding) {
	reg, r := decodeRegistration(data)
	if !r.seen[""] { // of a document that could not be read as a whole there is nothing more to say
		reg.check(rules, &r.findings)
	}
	return reg, r.all()
}

func decodeRegistration(data []byte) (Registration, *reader) {
	reg := Registration{Weight: DefaultWeight, Lease: Duration(DefaultLease)}
	r := readDocument(data, func(r *reader) fields {
		return fields{
			"service_id":   r.stringInto(&reg.ServiceID),
			"service_name": r.stringInto(&reg.ServiceName),
			"version":      r.stringInto(&reg.Version),
			"environment":  r.stringInto((*string)(&reg.Environment)),
			"region":       r.stringInto(&reg.Region),
			"endpoints": func(path string) {
				r.array(path, maxEndpoints, func(path string) { reg.Endpoints = append(reg.Endpoints, r.endpoint(path)) })
			},
			"health_check": func(path string) { r.healthCheck(path, &reg.HealthCheck) },
			"metadata":     func(path string) { reg.Metadata = r.metadata(path) },
			"tags":         r.stringsInto(&reg.Tags, maxTags),
			"weight":       r.intInto(&reg.Weight),
			"lease":        r.durationInto(&reg.Lease),
		}
	})
	return reg.WithDefaults(), r
}

func (r *reader) endpoint(path string) (e Endpoint) {
	r.object(path, fields{
		"name":      r.stringInto(&e.Name),
		"url":       r.stringInto(&e.URL),
		"protocol":  r.stringInto(&e.Protocol),
		"port":      notZero(r, &e.Port, r.intInto),
		"path":      r.stringInto(&e.Path),
		"methods":   r.stringsInto(&e.Methods, maxMethods),
		"is_public": r.boolInto(&e.IsPublic),
	})
	return e
}

func (r *reader) healthCheck(path string, h *HealthCheck) {
	r.object(path, fields{
		"enabled":             r.boolInto(&h.Enabled),
		"path":                r.stringInto(&h.Path),
		"interval":            notZero(r, &h.Interval, r.durationInto),
		"timeout":             notZero(r, &h.Timeout, r.durationInto),
		"healthy_threshold":   notZero(r, &h.HealthyThreshold, r.intInto),
		"unhealthy_threshold": notZero(r, &h.UnhealthyThreshold, r.intInto),
	})
}

// notZero reads a field whose zero would be taken for a field that is left out.
func notZero[T int | Duration](r *reader, p *T, into func(*T) func(string)) func(string) {
	return func(path string) {
		into(p)(path)
		if *p == 0 && r.failed == nil {
			r.addf(path, codeOutOfRange, "this must not be zero; leave it out for the default")
		}
	}
}

func (r *reader) metadata(path string) map[string]string {
	m := make(map[string]string)
	n := 0
	r.members(path, func(name, at string) {
		if n++; n > maxMetadata {
			r.skip()
			return
		}
		var value string
		r.stringInto(&value)(at)
		m[name] = value
	})
	if n > maxMetadata {
		r.addf(path, codeTooMany, "%d are too many; at most %d are allowed", n, maxMetadata)
	}
	return m
}

// Patch is a change of a registered instance. What is nil stays.
type Patch struct {
	Status   Status             // "" leaves the status as it is
	Metadata map[string]*string // merged member by member (RFC 7396); nil removes a member
	Tags     *[]string          // replaces all
	Weight   *int
}

// DecodePatch reads a patch strictly.
func DecodePatch(data []byte) (Patch, []Finding) {
	var p Patch
	r := readDocument(data, func(r *reader) fields {
		return fields{
			"status": func(path string) {
				r.stringInto((*string)(&p.Status))(path)
				if !p.Status.ownersChoice() {
					r.addf(path, codeInvalid, "a patch sets starting, maintenance or stopping")
				}
			},
			"metadata": func(path string) { p.Metadata = r.metadataPatch(path) },
			"tags":     func(path string) { p.Tags = new([]string); r.stringsInto(p.Tags, maxTags)(path) },
			"weight":   func(path string) { p.Weight = new(int); r.intInto(p.Weight)(path) },
		}
	})
	return p, r.all()
}

func (r *reader) metadataPatch(path string) map[string]*string {
	m := make(map[string]*string)
	n := 0
	r.members(path, func(name, at string) {
		switch n++; {
		case n > 2*maxMetadata:
			r.skip()
		case r.in.PeekKind() == 'n':
			r.skip()
			m[name] = nil
		default:
			m[name] = new(string)
			r.stringInto(m[name])(at)
		}
	})
	if n > 2*maxMetadata {
		r.addf(path, codeTooMany, "%d are too many; at most %d are allowed", n, 2*maxMetadata)
	}
	return m
}

// on returns the registration with the patch applied.
func (p Patch) on(r Registration) Registration {
	if p.Metadata != nil {
		merged := make(map[string]string, len(r.Metadata)+len(p.Metadata))
		for k, v := range r.Metadata {
			merged[k] = v
		}
		for k, v := range p.Metadata {
			if v == nil {
				delete(merged, k)
			} else {
				merged[k] = *v
			}
		}
		r.Metadata = merged
	}
	if p.Tags != nil {
		r.Tags = *p.Tags
	}
	if p.Weight != nil {
		r.Weight = *p.Weight
	}
	return r.normal()
}
