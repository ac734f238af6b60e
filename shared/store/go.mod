module github.com/isectech/service-networking/shared/store

go 1.26.0
