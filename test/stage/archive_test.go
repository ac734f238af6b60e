package stage

import (
	"archive/zip"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestArchive(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1000)
	var one, two bytes.Buffer
	for w, tree := range map[*bytes.Buffer]fstest.MapFS{
		&one: {"b.go": {Data: []byte("b")}, "a/b": {Data: []byte(long)}, "a.go": {}},
		&two: {
			"a.go": {Mode: 0o600}, "a/b": {Data: []byte(long), ModTime: time.Unix(1e9, 0)},
			"b.go": {Data: []byte("b"), Mode: 0o755},
		},
	} {
		if err := Archive(w, tree); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("times and modes show in the archive")
	}
	z, err := zip.NewReader(bytes.NewReader(one.Bytes()), int64(one.Len()))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range z.File {
		found = append(found, f.Name)
		if len(f.Extra) != 0 || f.Comment != "" || f.Mode() != 0o644 {
			t.Errorf("%s: extra field %x, comment %q, mode %v", f.Name, f.Extra, f.Comment, f.Mode())
		}
		if got := f.Modified.Format(time.DateTime); got != "1980-01-01 00:00:00" {
			t.Errorf("%s: time %s", f.Name, got)
		}
	}
	if diff := cmp.Diff([]string{"a.go", "a/b", "b.go"}, found); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}

	file := filepath.Join(t.TempDir(), "x.zip")
	write(t, one.String(), file)
	dir := t.TempDir()
	if err := Unpack(file, dir); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "a", "b")); err != nil || string(data) != long {
		t.Errorf("unpacked %d bytes, %v", len(data), err)
	}
	if err := Unpack(file, dir); err == nil {
		t.Error("unpacked over what was there")
	}
}

func TestArchiveTakesFilesAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := Archive(new(bytes.Buffer), os.DirFS(dir)); err == nil {
		t.Error("archived a link")
	}
}

func TestUnpackStaysBelowItsFolder(t *testing.T) {
	t.Parallel()
	for name, header := range map[string]zip.FileHeader{
		"above":    {Name: "../x"},
		"absolute": {Name: "/x"},
		"within":   {Name: "a/../../x"},
		"link":     {Name: "x", ExternalAttrs: 0o120777 << 16, CreatorVersion: 3 << 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			z := zip.NewWriter(&b)
			if w, err := z.CreateHeader(&header); err != nil {
				t.Fatal(err)
			} else if _, err := w.Write([]byte("/etc/passwd")); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			file := filepath.Join(dir, "x.zip")
			write(t, b.String(), file)
			to := filepath.Join(dir, "to")
			if err := Unpack(file, to); err == nil {
				t.Error("unpacked it")
			}
			found := 0
			_ = filepath.WalkDir(dir, func(string, fs.DirEntry, error) error { found++; return nil })
			if found > 2 { // the folder and the zip
				t.Error("left something behind")
			}
		})
	}
}
