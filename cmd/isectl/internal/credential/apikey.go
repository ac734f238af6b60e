package credential

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/platform/secrets"
)

// secretPrefix is what the name of the secret with a service's API key begins with.
const secretPrefix = "isectech-api-key-" //nolint:gosec // a name, not a key

// ErrNoKey means that the service has no API key that could be read here.
var ErrNoKey = errors.New("no API key")

// Secrets reads secrets; secrets.Client is one.
type Secrets interface {
	Versions(ctx context.Context, name string) ([]secrets.Version, error)
	Access(ctx context.Context, name string, version int64) (secrets.Value, error)
}

// APIKey is a service's key with the names that a signature carries.
type APIKey struct {
	Service auth.Subject
	KeyID   string
	Key     signature.Key
}

// ReadAPIKey reads the newest enabled version of a service's API key. The service may be named without
// its prefix.
func ReadAPIKey(ctx context.Context, source Secrets, ref string) (APIKey, error) {
	names := []string{ref}
	if !strings.HasPrefix(ref, auth.ServicePrefix) {
		names = append(names, auth.ServicePrefix+ref)
	}
	for _, name := range names {
		service, err := auth.ParseSubject(name)
		if err != nil {
			return APIKey{}, err
		}
		if service.IsOperator() {
			return APIKey{}, fmt.Errorf("%s: %w: an operator is no service", name, ErrNoKey)
		}
		key, err := readNewest(ctx, source, service)
		if !errors.Is(err, secrets.ErrNotFound) {
			return key, err
		}
	}
	return APIKey{}, fmt.Errorf("%s: %w here: there is no secret %s%s", ref, ErrNoKey, secretPrefix, names[len(names)-1])
}

func readNewest(ctx context.Context, source Secrets, service auth.Subject) (APIKey, error) {
	name := secretPrefix + service.String()
	versions, err := source.Versions(ctx, name)
	if err != nil {
		return APIKey{}, err
	}
	for _, v := range versions { // newest first
		if v.State != secrets.Enabled {
			continue
		}
		value, err := source.Access(ctx, name, v.Number)
		if err != nil {
			return APIKey{}, err
		}
		key, err := signature.ParseKey(string(value.Reveal()))
		if err != nil {
			return APIKey{}, fmt.Errorf("secret %s, version %d: %w", name, v.Number, err)
		}
		return APIKey{Service: service, KeyID: "k" + strconv.FormatInt(v.Number, 10), Key: key}, nil
	}
	return APIKey{}, fmt.Errorf("%s: %w: no version of secret %s is enabled", service, ErrNoKey, name)
}
