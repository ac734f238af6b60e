//go:build pubsub

package main

import (
	"context"
	"io"

	"cloud.google.com/go/pubsub/v2"
)

func init() {
	clients = append(clients, func(ctx context.Context, project string) (io.Closer, error) { return pubsub.NewClient(ctx, project) })
}
