package bootstrap

import (
	"context"
	"errors"
	"fmt"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
)

// maxAttempts bounds how often a policy is edited again because someone else was faster.
const maxAttempts = 10

// ErrNotAService means that a name cannot be a service's.
var ErrNotAService = errors.New("not a service's name")

// AddService makes a service: its entry in the policy and its API key. What is there is left alone. A name
// or an entry that no policy takes is ErrNotAService or policy.ErrInvalid.
func (p *Platform) AddService(ctx context.Context, name auth.Subject, entry policy.ServiceEntry) ([]Part, error) {
	if name.IsOperator() {
		return nil, fmt.Errorf("%s: %w: it is an operator's", name, ErrNotAService)
	}
	listed, err := p.addToPolicy(ctx, name, entry)
	if err != nil {
		return nil, fmt.Errorf("add %s to the policy: %w", name, err)
	}
	parts := []Part{{Name: name.String() + " policy entry", Created: listed}}
	keyed, err := p.AddAPIKey(ctx, name)
	if err != nil {
		return parts, err
	}
	return append(parts, Part{Name: name.String() + " API key", Created: keyed}), nil
}

func (p *Platform) addToPolicy(ctx context.Context, name auth.Subject, entry policy.ServiceEntry) (bool, error) {
	for range maxAttempts {
		current, err := p.Store.Get(ctx, trust.PolicyRef)
		if err != nil {
			return false, err
		}
		doc, _, err := trust.ParsePolicy(current.Data)
		if err != nil {
			return false, err
		}
		if _, ok := doc.Services[name.String()]; ok {
			return false, nil
		}
		doc.Services[name.String()] = entry
		err = p.writePolicy(ctx, doc, current.Generation)
		if !errors.Is(err, store.ErrConflict) {
			return err == nil, err
		}
	}
	return false, errors.New("the policy keeps changing")
}

// AddAPIKey makes the first API key of a service.
func (p *Platform) AddAPIKey(ctx context.Context, name auth.Subject) (bool, error) {
	if found, err := p.exists(ctx, trust.APIKeysRef(name)); found || err != nil {
		return false, err
	}
	key := signature.NewKey()
	version, err := p.putSecret(ctx, trust.APIKeySecret(name), []byte(key.Encode()))
	if err != nil {
		return false, fmt.Errorf("API key of %s: %w", name, err)
	}
	made, err := first(p.commit(ctx, store.Write{
		Ref: trust.APIKeysRef(name), Data: trust.APIKeys{Versions: []int64{version}}, If: store.Absent(),
	}))
	if err != nil {
		return false, fmt.Errorf("API key of %s: %w", name, err)
	}
	return made, nil
}
