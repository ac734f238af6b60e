package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath string
	Dir        string
	Standard   bool
	Module     *struct{ Main bool }
	GoFiles    []string
	EmbedFiles []string
}

// list asks the go command for the packages that the function in dir is built from on Cloud Run. Neither a
// workspace nor a vendor folder that lies about changes the answer.
func list(ctx context.Context, dir string) ([]pkg, error) {
	env := append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	out, err := goCommand(ctx, dir, env, "list", "-deps", "-json=ImportPath,Dir,Standard,Module,GoFiles,EmbedFiles", ".")
	if err != nil {
		return nil, err
	}
	var found []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list in %s: %w", dir, err)
		}
		found = append(found, p)
	}
}

// Dependencies returns the import paths of all packages, but the standard library's, that the binary of the
// function in dir is linked from, sorted.
func Dependencies(ctx context.Context, dir string) ([]string, error) {
	packages, err := list(ctx, dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, p := range packages {
		if !p.Standard {
			paths = append(paths, p.ImportPath)
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// copySource copies the function's own files from dir to upload: go.mod and go.sum as they are, and of the
// packages that the function is built from what it is built from. Tests, programs beside the function and
// whatever else lies about stay behind.
func copySource(ctx context.Context, dir, upload string) error {
	packages, err := list(ctx, dir)
	if err != nil {
		return err
	}
	root, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return err
	}
	files := []string{"go.mod", "go.sum"}
	for _, p := range packages {
		if p.Module == nil || !p.Module.Main {
			continue
		}
		at, err := filepath.EvalSymlinks(p.Dir)
		if err != nil {
			return err
		}
		if at, err = filepath.Rel(root, at); err != nil {
			return err
		}
		for _, name := range slices.Concat(p.GoFiles, p.EmbedFiles) {
			files = append(files, filepath.Join(at, name))
		}
	}
	for _, name := range files {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("%s lies outside the function's folder", name)
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		to := filepath.Join(upload, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// goCommand runs the go command in dir, with the variables of env alone, and returns what it printed.
func goCommand(ctx context.Context, dir string, env []string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s in %s: %w\n%s", strings.Join(cmd.Args, " "), dir, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
