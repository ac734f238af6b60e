module example.com/repo/shared/word

go 1.26.0
