package stage

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// depsFile lists, in a function's folder, what its binary is linked from, so that a review shows what a change
// adds to it.
const depsFile = "deps.txt"

// ReadDependencies returns the checked-in list of the function in dir, nothing where there is none.
func ReadDependencies(dir string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, depsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(string(data)), err
}

// WriteDependencies brings the checked-in list of the function in dir up to date.
func WriteDependencies(ctx context.Context, dir string) error {
	paths, err := Dependencies(ctx, dir)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, depsFile), []byte(strings.Join(paths, "\n")+"\n"), 0o644)
}
