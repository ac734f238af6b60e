module github.com/isectech/service-networking/shared/auth

go 1.26.0
