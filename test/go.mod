module github.com/isectech/service-networking/test

go 1.26.0

replace github.com/isectech/service-networking/shared/auth => ../shared/auth

replace github.com/isectech/service-networking/shared/registry => ../shared/registry

replace github.com/isectech/service-networking/shared/store => ../shared/store

replace github.com/isectech/service-networking/shared/platform => ../shared/platform

replace github.com/isectech/service-networking/functions/register => ../functions/register

replace github.com/isectech/service-networking/functions/authz => ../functions/authz

replace github.com/isectech/service-networking/cmd/isectl => ../cmd/isectl

require (
	github.com/google/go-cmp v0.7.0
	github.com/isectech/service-networking/shared/platform v0.0.0
	golang.org/x/mod v0.42.0
)

require (
	github.com/isectech/service-networking/shared/auth v0.0.0-00010101000000-000000000000 // indirect
	github.com/sethvargo/go-envconfig v1.4.3 // indirect
)
