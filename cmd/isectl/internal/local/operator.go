package local

import (
	"errors"
	"fmt"

	"github.com/isectech/service-networking/functions/authz"
	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/token"
)

// The local stand-in for Google's identity provider: it knows one operator, whose ID tokens isectl signs.
const (
	operatorMail   = "operator@local.isectech.com"
	operatorIssuer = "https://local.isectech.com"
)

// operator returns the operator's credential, which is made on the first start and kept.
func (d Dir) operator() (Info, error) {
	info, err := d.ReadInfo()
	if err == nil && (info.OperatorKey == "" || info.OperatorKeyID == "") {
		return info, fmt.Errorf("%s holds no operator's key; if it is lost, remove the file to get a new one", d.info())
	}
	if !errors.Is(err, ErrNoPlatform) {
		return info, err
	}
	key, err := token.GenerateKey(token.ES256)
	if err != nil {
		return info, err
	}
	encoded, err := token.MarshalPrivateKey(key)
	if err != nil {
		return info, err
	}
	kid, err := token.Thumbprint(key.Public())
	if err != nil {
		return info, err
	}
	return Info{Operator: operatorMail, OperatorKey: string(encoded), OperatorKeyID: kid}, nil
}

// assertions verifies the operator's ID tokens.
func assertions(info Info, audience string, clock Clock) (authz.Assertions, error) {
	private, algorithm, err := token.ParsePrivateKey([]byte(info.OperatorKey))
	if err != nil {
		return nil, fmt.Errorf("operator's key: %w; if it is lost, remove local.json to get a new one", err)
	}
	keys, err := token.NewKeySet(token.Key{ID: info.OperatorKeyID, Algorithm: algorithm, Public: private.Public()})
	if err != nil {
		return nil, fmt.Errorf("operator key: %w", err)
	}
	return &authz.IDTokens{Issuer: operatorIssuer, Audience: audience, Keys: keys, Now: clock}, nil
}

// defaultPolicy is the shipped policy with the local operator in it.
func defaultPolicy() *policy.Document {
	doc := policy.Default(auth.Production, auth.Development)
	doc.Operators = map[string]policy.Operator{operatorMail: {Scopes: []string{
		auth.AdminRead.String(), auth.AdminWrite.String(), auth.ServiceDiscover.String(), auth.MetricsRead.String(),
	}}}
	return doc
}
