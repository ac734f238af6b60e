module github.com/isectech/service-networking/functions/authz

go 1.26.0

replace github.com/isectech/service-networking/shared/auth => ../../shared/auth

replace github.com/isectech/service-networking/shared/registry => ../../shared/registry

replace github.com/isectech/service-networking/shared/store => ../../shared/store

replace github.com/isectech/service-networking/shared/platform => ../../shared/platform

require github.com/isectech/service-networking/shared/auth v0.0.0
