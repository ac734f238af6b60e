module github.com/isectech/service-networking/shared/registry/grpcresolver

go 1.26.0

replace github.com/isectech/service-networking/shared/auth => ../../auth

replace github.com/isectech/service-networking/shared/store => ../../store

replace github.com/isectech/service-networking/shared/registry => ..

require (
	github.com/isectech/service-networking/shared/auth v0.0.0-00010101000000-000000000000
	github.com/isectech/service-networking/shared/registry v0.0.0-00010101000000-000000000000
	go.uber.org/goleak v1.3.0
	google.golang.org/grpc v1.85.0
)

require (
	github.com/Masterminds/semver/v3 v3.5.0 // indirect
	github.com/go-json-experiment/json v1.27.2 // indirect
	github.com/isectech/service-networking/shared/store v0.0.0-00010101000000-000000000000 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20261026165753-2ffab32bce7e // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)
