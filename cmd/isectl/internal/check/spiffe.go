package check

import (
	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/spiffe"
)

// SPIFFEVerdict is what a SPIFFE id is found to be. Service and environment are there when it names a
// workload of this platform.
type SPIFFEVerdict struct {
	Valid       bool             `json:"valid"`
	TrustDomain string           `json:"trust_domain"`
	Path        string           `json:"path"`
	ServiceName string           `json:"service_name,omitempty"`
	Environment auth.Environment `json:"environment,omitempty"`
	Reason      string           `json:"reason,omitempty"` // what is wrong
}

// SPIFFE judges one id by the SPIFFE standard.
func SPIFFE(raw string) SPIFFEVerdict {
	id, err := spiffe.Parse(raw)
	if err != nil {
		return SPIFFEVerdict{Reason: err.Error()}
	}
	verdict := SPIFFEVerdict{Valid: true, TrustDomain: id.TrustDomain(), Path: id.Path()}
	if service, environment, err := spiffe.Workload(raw); err == nil {
		verdict.ServiceName, verdict.Environment = service.String(), environment
	}
	return verdict
}
