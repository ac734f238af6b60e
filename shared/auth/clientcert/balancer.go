package clientcert

import (
	"net/http"
	"time"
)

// The headers that Google's load balancer is told to set, and which of its variables they hold.
const (
	headerPresent       = "X-Client-Cert-Present"            // client_cert_present
	headerChainVerified = "X-Client-Cert-Chain-Verified"     // client_cert_chain_verified
	headerSPIFFE        = "X-Client-Cert-Spiffe"             // client_cert_spiffe_id
	headerFingerprint   = "X-Client-Cert-Sha256-Fingerprint" // client_cert_sha256_fingerprint
	headerSerial        = "X-Client-Cert-Serial-Number"      // client_cert_serial_number
	headerNotAfter      = "X-Client-Cert-Not-After"          // client_cert_valid_not_after
)

var balancerHeaders = [...]string{headerPresent, headerChainVerified, headerSPIFFE, headerFingerprint, headerSerial, headerNotAfter}

// Bounds of what the headers hold.
const (
	maxSPIFFE = 2048 // as the standard has it
	maxWord   = 128  // of all others
)

// balancerSpeaks reports whether the load balancer tells of a certificate. Where the client showed none, the
// load balancer sends its headers all the same: empty, or with false in those that say yes or no.
func balancerSpeaks(h http.Header) bool {
	for _, name := range balancerHeaders {
		values := h[name]
		if len(values) > 1 || len(values) == 1 && values[0] != "" && values[0] != "false" {
			return true
		}
	}
	return false
}

// balancerSilent reports whether the load balancer says that there is no certificate.
func balancerSilent(h http.Header) bool {
	return len(h[headerPresent]) > 0 && !balancerSpeaks(h)
}

// fromBalancer reads the load balancer's headers.
func fromBalancer(r *http.Request, now time.Time) (Identity, bool, error) {
	if !balancerSpeaks(r.Header) {
		return Identity{}, false, nil
	}
	var words [len(balancerHeaders)]string
	for i, name := range balancerHeaders {
		values := r.Header[name]
		limit := maxWord
		if name == headerSPIFFE {
			limit = maxSPIFFE
		}
		switch {
		case len(values) > 1:
			return Identity{}, false, untrusted(name + " is repeated")
		case len(values) == 1 && len(values[0]) > limit:
			return Identity{}, false, untrusted(name + " is too long")
		case len(values) == 1:
			words[i] = values[0]
		}
	}
	present, verified, uri, fingerprint, serial, notAfter := words[0], words[1], words[2], words[3], words[4], words[5]
	switch {
	case present != "true":
		return Identity{}, false, untrusted("a client certificate is told of that " + headerPresent + " does not say is there")
	case verified != "true":
		return Identity{}, false, unfit("the client certificate was not verified")
	}
	service, env, err := workload(uri)
	if err != nil {
		return Identity{}, false, err
	}
	id := Identity{Service: service, Environment: env}
	if err := id.details(fingerprint, serial, notAfter, now); err != nil {
		return Identity{}, false, err
	}
	return id, true, nil
}

// details reads what the load balancer tells beside the workload, as far as it is set up to.
func (id *Identity) details(fingerprint, serial, notAfter string, now time.Time) error {
	var ok bool
	if fingerprint != "" {
		if id.Thumbprint, ok = parseFingerprint(fingerprint); !ok {
			return untrusted(headerFingerprint + " is no SHA-256")
		}
	}
	if serial != "" {
		var err error
		if id.Serial, err = ParseSerial(serial); err != nil {
			return untrusted(headerSerial + " is no serial number")
		}
	}
	if notAfter != "" {
		end, err := time.Parse(time.RFC3339, notAfter)
		// time.Parse takes more than the RFC has: an hour of one digit, a fraction after a comma.
		if err != nil || notAfter != end.Format(time.RFC3339) && notAfter != end.Format("2006-01-02T15:04:05-07:00") {
			return untrusted(headerNotAfter + " is no time")
		}
		if now.After(end) {
			return errExpired
		}
		id.NotAfter = end.UTC()
	}
	return nil
}
