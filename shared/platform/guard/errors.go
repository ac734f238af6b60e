package guard

import (
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/secrets"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
)

// Errors is the part of every function's error table about what all of them rest on.
func Errors() httpx.Table {
	unavailable := httpx.Unavailable(time.Second, "something needed is out of reach; try again")
	return httpx.Table{
		{Is: trust.ErrUnavailable, As: httpx.Refused(auth.PolicyUnavailable, "the policy cannot be read; try again")},
		{Is: store.ErrUnavailable, As: unavailable},
		{Is: secrets.ErrUnavailable, As: unavailable},
	}
}
