// Package benchplatform makes the platform that a benchmark asks: policy and keys in a directory, as one machine
// keeps them, and what signs tokens.
package benchplatform

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/bootstrap"
	"github.com/isectech/service-networking/shared/platform/secrets/secretserver"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store/boltstore"
)

// Make makes a policy and a signing key in a directory, the key set beside them, and returns what signs tokens.
func Make(ctx context.Context, dir string, doc *policy.Document) (signer *token.Signer, err error) {
	db, err := boltstore.Open(filepath.Join(dir, "platform.db"), boltstore.Options{Now: time.Now})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	vault, err := secretserver.Open(filepath.Join(dir, "secrets"), time.Now)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, vault.Close()) }()
	client, err := vault.Client(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()

	platform := &bootstrap.Platform{
		Store: db, Secrets: client, Now: time.Now,
		Actor: auth.MustSubject("operator:bench@isectech.com"), Cause: "benchmark",
	}
	if _, err := platform.Run(ctx, doc); err != nil {
		return nil, err
	}
	st, err := trust.NewSource(db, time.Now).State(ctx)
	if err != nil {
		return nil, err
	}
	set, err := json.Marshal(st.Keys)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "jwks.json"), set, 0o600); err != nil {
		return nil, err
	}
	record, ok := st.CurrentKey()
	if !ok {
		return nil, errors.New("no signing key is current")
	}
	secret, err := client.Access(ctx, trust.SigningKeySecret, record.SecretVersion)
	if err != nil {
		return nil, err
	}
	private, algorithm, err := token.ParsePrivateKey(secret.Reveal())
	if err != nil {
		return nil, err
	}
	return token.NewSigner(record.ID, algorithm, private)
}

// Claims are those of a token as the authorizer would issue it now.
func Claims(subject, audience string, now time.Time) token.Claims {
	sub := auth.MustSubject(subject)
	now = now.Truncate(time.Second)
	return token.Claims{
		Subject: sub, Audience: audience, ServiceID: sub.Alias() + "-001", Environment: auth.Production,
		Scopes:   auth.APIRead | auth.APIWrite | auth.ServiceDiscover,
		IssuedAt: now, NotBefore: now, ExpiresAt: now.Add(10 * time.Minute), ID: token.NewID(),
	}
}
