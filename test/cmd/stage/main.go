// Command stage makes the zip of every function that is named, of all when none is, and rehearses the
// buildpack with each: the build, then a start of every function in it, once with nothing configured and once
// with no back end in reach.
//
//	stage [-root DIR] [-out DIR] [-rehearse=false] [NAME…]
//	stage [-root DIR] -deps
//
// The second form writes the lists of what each function is linked from.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/isectech/service-networking/test/stage"
)

// probes says what functions are asked in a rehearsal. One that is not here is asked for /.
var probes = map[string]stage.Probe{
	"Authz":    {Path: "/internal/auth/health", Status: 503},
	"Register": {Path: "/internal/registry/health", Status: 503},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := program(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "stage:", err)
		os.Exit(1) //nolint:gocritic // the deferred stop has nothing left to do
	}
}

func program(ctx context.Context, args []string, w io.Writer) error {
	flags := flag.NewFlagSet("stage", flag.ContinueOnError)
	root := flags.String("root", ".", "the repository's root")
	out := flags.String("out", "dist", "where the zips go")
	rehearse := flags.Bool("rehearse", true, "build and start each zip as it will be")
	deps := flags.Bool("deps", false, "write the lists of packages instead")
	if err := flags.Parse(args); err != nil {
		return err
	}
	names := flags.Args()
	if len(names) == 0 {
		var err error
		if names, err = stage.Functions(*root); err != nil {
			return err
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("no function below %s", *root)
	}
	var errs []error
	for _, name := range names {
		switch {
		case *deps:
			errs = append(errs, stage.WriteDependencies(ctx, filepath.Join(*root, "functions", name)))
		default:
			errs = append(errs, one(ctx, *root, name, *out, *rehearse, w))
		}
	}
	return errors.Join(errs...)
}

// one stages a function and rehearses its zip.
func one(ctx context.Context, root, name, out string, rehearse bool, w io.Writer) error {
	file, err := stage.Zip(ctx, root, name, out)
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s  %.1f MB\n", file, float64(info.Size())/1e6)
	if !rehearse {
		return nil
	}
	work, err := os.MkdirTemp("", "rehearse-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	built, err := stage.Rehearse(ctx, file, work)
	if err != nil {
		return err
	}
	if err := compare(filepath.Join(root, "functions", name), built.Packages); err != nil {
		return err
	}
	if len(built.Targets) == 0 {
		return fmt.Errorf("%s registers no function", name)
	}
	env, err := stage.Environment(ctx, work)
	if err != nil {
		return err
	}
	for _, target := range built.Targets {
		probe, known := probes[target]
		if !known {
			probe.Path = "/"
		}
		if err := stage.Refuses(ctx, built.Binary, target); err != nil {
			return err
		}
		if err := stage.Answers(ctx, built.Binary, target, env, probe); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "  built offline of %d packages, started as %s\n", len(built.Packages), strings.Join(built.Targets, ", "))
	return nil
}

// compare holds what was built from the zip to the checked-in list.
func compare(dir string, packages []string) error {
	want, err := stage.ReadDependencies(dir)
	if err != nil {
		return err
	}
	if slices.Equal(want, packages) {
		return nil
	}
	return fmt.Errorf("%s/deps.txt lists other packages than the zip is built from: run make tidy", dir)
}
