module example.com/repo/functions/hello

go 1.26.0

replace github.com/GoogleCloudPlatform/functions-framework-go => ../../shared/framework

replace example.com/repo/shared/word => ../../shared/word

require (
	example.com/repo/shared/word v0.0.0
	github.com/GoogleCloudPlatform/functions-framework-go v1.9.2
)
