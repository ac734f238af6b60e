module github.com/isectech/service-networking/cmd/isectl

go 1.26.0

replace github.com/isectech/service-networking/shared/auth => ../../shared/auth

replace github.com/isectech/service-networking/shared/registry => ../../shared/registry

replace github.com/isectech/service-networking/shared/store => ../../shared/store

replace github.com/isectech/service-networking/shared/platform => ../../shared/platform

replace github.com/isectech/service-networking/functions/register => ../../functions/register

replace github.com/isectech/service-networking/functions/authz => ../../functions/authz

require (
	github.com/alecthomas/kong v1.17.0 // indirect
	github.com/go-json-experiment/json v1.27.2 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/google/go-cmp v0.7.0 // indirect
	github.com/rogpeppe/go-internal v1.16.0 // indirect
)
