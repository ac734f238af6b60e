package stage

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

const (
	framework = "github.com/GoogleCloudPlatform/functions-framework-go"
	// An import of this in the root package tells the buildpack that functions register themselves.
	registering = framework + "/functions"
	serving     = framework + "/funcframework"
)

// forbidden are the parts of the platform in one process, and what serves tests. No binary of a function has
// them.
var forbidden = []string{
	"go.etcd.io/bbolt",
	"github.com/isectech/service-networking/cmd",
	"github.com/isectech/service-networking/shared/platform/secrets/secretserver",
	"github.com/isectech/service-networking/shared/store/boltstore",
	"testing",
}

// source is what the buildpack reads off a function's root folder before it builds anything.
type source struct {
	module    string
	framework string   // version of the functions framework
	name      string   // of the package
	imports   []string // of its files
	targets   []string // functions that its files register, sorted
}

// Check holds a folder to what the buildpack wants of an upload, and says of everything that it would
// refuse, or silently build something else from, what is to be done.
func Check(upload string) error {
	_, err := inspect(upload)
	return err
}

// inspect reads a folder as the buildpack does. It looks at every Go file of the root, whatever its name
// and constraints: tests and programs that no build includes count.
func inspect(upload string) (source, error) {
	var s source
	var errs []error
	for _, name := range []string{"go.work", "go.work.sum"} {
		if _, err := os.Lstat(filepath.Join(upload, name)); err == nil {
			errs = append(errs, fmt.Errorf("%s: a workspace names folders that are not uploaded", name))
		}
	}
	errs = append(errs, s.readModule(upload), s.readRoot(upload))
	if _, err := os.Stat(filepath.Join(upload, "vendor", filepath.FromSlash(serving))); err != nil {
		errs = append(errs, fmt.Errorf("vendor: lacks %s, which a blank import brings in", serving))
	}
	if !slices.Contains(s.imports, registering) {
		errs = append(errs, fmt.Errorf("no file of the root package imports %s: the buildpack would look for an exported function", registering))
	}
	return s, errors.Join(errs...)
}

func (s *source) readModule(upload string) error {
	file := filepath.Join(upload, "go.mod")
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o200 == 0 {
		return errors.New("go.mod: is not writable")
	}
	mod, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		return err
	}
	s.module = mod.Module.Mod.Path
	if first, _, _ := strings.Cut(s.module, "/"); !strings.Contains(first, ".") {
		return fmt.Errorf("go.mod: the module path %s has no dot before its first slash", s.module)
	}
	for _, r := range mod.Require {
		if r.Mod.Path == framework {
			s.framework = r.Mod.Version
		}
	}
	if s.framework == "" {
		return fmt.Errorf("go.mod: does not require %s", framework)
	}
	return nil
}

func (s *source) readRoot(upload string) error {
	files, err := filepath.Glob(filepath.Join(upload, "*.go"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("no Go file at the root")
	}
	var errs []error
	var trees []*ast.File
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if s.name == "" {
			s.name = tree.Name.Name
		}
		if tree.Name.Name != s.name {
			errs = append(errs, fmt.Errorf("%s: package %s, and %s beside it: the root of an upload has one package, tests and build constraints notwithstanding",
				filepath.Base(file), tree.Name.Name, s.name))
		}
		for _, spec := range tree.Imports {
			s.imports = append(s.imports, strings.Trim(spec.Path.Value, "\"`"))
		}
		trees = append(trees, tree)
	}
	s.targets = registered(trees)
	return errors.Join(errs...)
}
