module github.com/isectech/service-networking/shared/registry

go 1.26.0

replace github.com/isectech/service-networking/shared/auth => ../auth

replace github.com/isectech/service-networking/shared/store => ../store

require (
	github.com/go-json-experiment/json v1.27.2 // indirect
	github.com/google/go-cmp v0.7.0 // indirect
	pgregory.net/rapid v1.3.0 // indirect
)
