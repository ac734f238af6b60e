module github.com/isectech/service-networking/shared/auth

go 1.26.0

require (
	github.com/go-json-experiment/json v1.27.2 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/google/go-cmp v0.7.0 // indirect
	github.com/spiffe/go-spiffe/v2 v2.9.0 // indirect
	pgregory.net/rapid v1.3.0 // indirect
)
