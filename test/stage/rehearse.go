package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const (
	sourceDir = "serverless_function_source_code" // where the buildpack moves an upload to
	appDir    = "functions.local/app"             // where in it the buildpack puts its main package
)

// mainFile does what the buildpack's main does for functions that register themselves.
const mainFile = `package main

import (
	"log"
	"net/http"
	"os"

	_ %q

	"` + serving + `"
)

func main() {
	for _, reserved := range []string{"/robots.txt", "/favicon.ico"} {
		http.HandleFunc(reserved, http.NotFound)
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	if err := funcframework.Start(port); err != nil {
		log.Fatal(err)
	}
}
`

// Built is what a rehearsal leaves.
type Built struct {
	Binary   string   // for the machine that it was built on
	Targets  []string // the functions that it registers, sorted
	Packages []string // what is linked into it on Cloud Run, sorted: without the standard library and main
}

// Rehearse unpacks a zip into work, an empty folder, and builds it as the buildpack does, in the same steps:
// move the upload aside, read its package and module, ask the module for its framework, write a main beside
// it, build that main within the function's module. There is no network, the module cache is empty, and no
// variable of the caller's reaches the go command but the place of its build cache.
func Rehearse(ctx context.Context, zipFile, work string) (Built, error) {
	app := filepath.Join(work, "workspace")
	fn := filepath.Join(app, sourceDir)
	if err := Unpack(zipFile, fn); err != nil {
		return Built{}, err
	}
	b, err := rehearse(ctx, fn, work)
	if err != nil {
		return Built{}, fmt.Errorf("rehearse %s: %w", filepath.Base(zipFile), err)
	}
	return b, nil
}

func rehearse(ctx context.Context, fn, work string) (Built, error) {
	s, err := inspect(fn)
	if err != nil {
		return Built{}, err
	}
	env, err := sealed(ctx, work)
	if err != nil {
		return Built{}, err
	}
	out, err := goCommand(ctx, fn, env, "list", "-m", "-f", "{{.Path}} {{.Version}}", s.module, framework)
	if err != nil {
		return Built{}, err
	}
	if want := s.module + " \n" + framework + " " + s.framework; strings.TrimSpace(string(out)) != want {
		return Built{}, fmt.Errorf("the go command sees the modules %q, go.mod says %q", out, want)
	}
	main := filepath.Join(fn, filepath.FromSlash(appDir))
	if err := os.MkdirAll(main, 0o755); err != nil {
		return Built{}, err
	}
	if err := os.WriteFile(filepath.Join(main, "main.go"), fmt.Appendf(nil, mainFile, s.module), 0o644); err != nil {
		return Built{}, err
	}
	b := Built{Binary: filepath.Join(work, "main"), Targets: s.targets}
	if _, err := goCommand(ctx, fn, env, "build", "-o", b.Binary, main); err != nil {
		return Built{}, err
	}
	err = b.readPackages(ctx, fn, env, path.Join(s.module, appDir))
	return b, err
}

// readPackages asks what the main package is linked from on Cloud Run, and refuses what must not be.
func (b *Built) readPackages(ctx context.Context, fn string, env []string, main string) error {
	out, err := goCommand(ctx, fn, append(slices.Clone(env), "GOOS=linux", "GOARCH=amd64"),
		"list", "-deps", "-f", "{{.ImportPath}} {{.Standard}}", main)
	if err != nil {
		return err
	}
	var errs []error
	for line := range strings.Lines(string(out)) {
		name, standard, _ := strings.Cut(strings.TrimSpace(line), " ")
		if slices.ContainsFunc(forbidden, func(f string) bool { return name == f || strings.HasPrefix(name, f+"/") }) {
			errs = append(errs, fmt.Errorf("links %s, which belongs to the platform in one process or to tests", name))
		}
		if standard == "false" && name != main {
			b.Packages = append(b.Packages, name)
		}
	}
	slices.Sort(b.Packages)
	return errors.Join(errs...)
}

// sealed is the environment of a builder with nothing but the toolchain: no home, an empty module cache, no
// network, no configuration of the user's. The build cache is shared with the caller, and paths are trimmed
// so that it serves wherever work lies; neither has a say in whether the sources are complete.
func sealed(ctx context.Context, work string) ([]string, error) {
	cache, err := goCommand(ctx, work, os.Environ(), "env", "GOCACHE")
	if err != nil {
		return nil, err
	}
	gopath := filepath.Join(work, "gopath")
	return []string{
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(),
		"GOPATH=" + gopath, "GOMODCACHE=" + filepath.Join(gopath, "pkg", "mod"),
		"GOCACHE=" + strings.TrimSpace(string(cache)),
		"GOENV=off", "GOTOOLCHAIN=local", "GO111MODULE=on", "GOPROXY=off", "GOSUMDB=off", "GOVCS=*:off",
		"GOFLAGS=-mod=vendor -trimpath", "CGO_ENABLED=0",
	}, nil
}
