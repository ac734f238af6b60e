//go:build secretmanager

package main

import (
	"context"
	"io"

	secretmanager "cloud.google.com/go/secretmanager/apiv1"
)

func init() {
	clients = append(clients, func(ctx context.Context, _ string) (io.Closer, error) { return secretmanager.NewClient(ctx) })
}
