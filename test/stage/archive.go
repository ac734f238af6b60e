package stage

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// earliest is 1980-01-01, the first day that a zip can name, in the form of MS-DOS.
const earliest = 1<<5 | 1

// Archive writes the files of a tree as a zip that depends on their names and contents alone: sorted, with
// one time and one mode for all, without folders and extra fields.
func Archive(w io.Writer, tree fs.FS) error {
	var names []string
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is neither a file nor a folder", name)
		}
		names = append(names, name)
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(names) // a walk has a/b before a.go
	z := zip.NewWriter(w)
	for _, name := range names {
		if err := add(z, tree, name); err != nil {
			return err
		}
	}
	return z.Close()
}

func add(z *zip.Writer, tree fs.FS, name string) error {
	data, err := fs.ReadFile(tree, name)
	if err != nil {
		return err
	}
	header := &zip.FileHeader{Name: name, Method: zip.Deflate}
	header.ModifiedDate = earliest //nolint:staticcheck // Modified would add an extra field
	header.SetMode(0o644)
	entry, err := z.CreateHeader(header)
	if err != nil {
		return err
	}
	_, err = entry.Write(data)
	return err
}

// maxFile is more than any source file has.
const maxFile = 64 << 20

// Unpack writes the files of a zip below dir.
func Unpack(file, dir string) error {
	z, err := zip.OpenReader(file)
	if err != nil {
		return err
	}
	defer func() { _ = z.Close() }()
	for _, f := range z.File {
		if !filepath.IsLocal(f.Name) || !f.Mode().IsRegular() {
			return fmt.Errorf("%s: %s is not a file below the root", file, f.Name)
		}
		if err := unpack(f, filepath.Join(dir, filepath.FromSlash(f.Name))); err != nil {
			return fmt.Errorf("%s: %s: %w", file, f.Name, err)
		}
	}
	return nil
}

func unpack(f *zip.File, to string) (err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	from, err := f.Open()
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	n, err := io.Copy(w, io.LimitReader(from, maxFile+1))
	if err == nil && n > maxFile {
		err = errors.New("is too large")
	}
	return err
}
