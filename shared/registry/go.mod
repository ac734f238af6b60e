module github.com/isectech/service-networking/shared/registry

go 1.26.0

replace github.com/isectech/service-networking/shared/auth => ../auth

replace github.com/isectech/service-networking/shared/store => ../store

require (
	github.com/Masterminds/semver/v3 v3.5.0
	github.com/go-json-experiment/json v1.27.2
	github.com/google/go-cmp v0.7.0
	github.com/isectech/service-networking/shared/auth v0.0.0-00010101000000-000000000000
	github.com/isectech/service-networking/shared/store v0.0.0-00010101000000-000000000000
	go.uber.org/goleak v1.3.0
	pgregory.net/rapid v1.3.0
)

require (
	github.com/stretchr/testify v1.12.1 // indirect
	go.etcd.io/bbolt v1.5.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
