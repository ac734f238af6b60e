//go:build firestore

package main

import (
	"context"
	"io"

	"cloud.google.com/go/firestore"
)

func init() {
	clients = append(clients, func(ctx context.Context, project string) (io.Closer, error) { return firestore.NewClient(ctx, project) })
}
