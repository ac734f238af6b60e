// Package stage makes of a function's folder what is deployed: a zip that holds the function's own files and
// a vendor folder with everything else, so that it is built far from the repository and from any network.
// It also rehearses what the Go functions buildpack does with such a zip, in the buildpack's own order.
//
// A zip is a function of the sources alone: the same commit yields the same bytes wherever it lies.
package stage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

// Functions returns the names of the folders below root/functions that are functions, sorted.
func Functions(root string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(root, "functions", "*", "go.mod"))
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(found))
	for _, file := range found {
		names = append(names, filepath.Base(filepath.Dir(file)))
	}
	slices.Sort(names)
	return names, nil
}

// Upload copies the function root/functions/name to the folder work/functions/name, where nothing may be yet,
// vendors all that it is built from, and returns that folder.
//
// The vendor folder is made from the copy, beside which a link stands for root/shared: so it holds no
// dependency of the function's tests, and nothing of a vendor folder that lies in the function's own.
func Upload(ctx context.Context, root, name, work string) (string, error) {
	dir := filepath.Join(root, "functions", name)
	upload := filepath.Join(work, "functions", name)
	if _, err := os.Lstat(upload); err == nil {
		return "", fmt.Errorf("stage %s: %s is there already", name, upload)
	}
	if err := copySource(ctx, dir, upload); err != nil {
		return "", fmt.Errorf("stage %s: %w", name, err)
	}
	if err := linkShared(root, work); err != nil {
		return "", fmt.Errorf("stage %s: %w", name, err)
	}
	if _, err := goCommand(ctx, upload, append(os.Environ(), "GOWORK=off", "GOFLAGS="), "mod", "vendor"); err != nil {
		return "", fmt.Errorf("stage %s: %w", name, err)
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		before, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return "", err
		}
		after, err := os.ReadFile(filepath.Join(upload, file))
		if err != nil {
			return "", err
		}
		if !bytes.Equal(before, after) {
			return "", fmt.Errorf("stage %s: vendoring would change %s: run make tidy", name, file)
		}
	}
	if err := Check(upload); err != nil {
		return "", fmt.Errorf("stage %s: %w", name, err)
	}
	return upload, nil
}

// linkShared lets the replace lines of a copied go.mod find what they name.
func linkShared(root, work string) error {
	link := filepath.Join(work, "shared")
	if _, err := os.Lstat(link); err == nil {
		return nil
	}
	target, err := filepath.Abs(filepath.Join(root, "shared"))
	if err != nil {
		return err
	}
	return os.Symlink(target, link)
}

// Zip stages a function and writes it to out as NAME-HASH.zip, where HASH is the beginning of the SHA-256 of
// the file. Zips of the same function made before are removed. It returns the new one's path.
func Zip(ctx context.Context, root, name, out string) (string, error) {
	work, err := os.MkdirTemp("", "stage-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(work) }()
	upload, err := Upload(ctx, root, name, work)
	if err != nil {
		return "", err
	}
	var archive bytes.Buffer
	if err := Archive(&archive, os.DirFS(upload)); err != nil {
		return "", fmt.Errorf("stage %s: %w", name, err)
	}
	sum := sha256.Sum256(archive.Bytes())
	file := filepath.Join(out, name+"-"+hex.EncodeToString(sum[:6])+".zip")
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", err
	}
	// Written whole or not at all: a zip that ends early would have the name of one that does not.
	if err := os.WriteFile(file+".part", archive.Bytes(), 0o644); err != nil {
		return "", err
	}
	if err := os.Rename(file+".part", file); err != nil {
		return "", err
	}
	return file, removeOthers(out, name, filepath.Base(file))
}

func removeOthers(out, name, keep string) error {
	ours := regexp.MustCompile(`^` + regexp.QuoteMeta(name) + `-[0-9a-f]{12}\.zip$`)
	entries, err := os.ReadDir(out)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if ours.MatchString(e.Name()) && e.Name() != keep {
			if err := os.Remove(filepath.Join(out, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
