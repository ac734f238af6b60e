package client_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/registry/client"
)

// accessToken returns a token for an audience, and keeps it while it is good.
func accessToken(context.Context, string) (string, error) { return "", nil }

// serve serves until ctx ends, which a signal does.
func serve(context.Context, *http.Client) error { return nil }

func run(ctx context.Context) error {
	c, err := client.New(client.Options{
		Server: "https://api.isectech.com", Environment: "production", Token: accessToken, Now: time.Now,
	})
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx)) // drains and unregisters
	api := registry.Endpoint{Name: "api", URL: "https://backend-abc.a.run.app"}
	if _, err := c.Register(ctx, client.NewRegistration("isectech-backend-services", "backend-services-001", api)); err != nil {
		return err
	}
	calls := &http.Client{Transport: &client.Transport{Client: c}}
	return serve(ctx, calls) // https://admin/v1/users is an instance of isectech-admin
}

func Example() {
	if err := run(context.Background()); err != nil {
		fmt.Println(err)
	}
}
