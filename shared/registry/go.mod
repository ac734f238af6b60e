module github.com/isectech/service-networking/shared/registry

go 1.26.0

replace github.com/isectech/service-networking/shared/auth => ../auth

replace github.com/isectech/service-networking/shared/store => ../store
