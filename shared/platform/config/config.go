// Package config reads environment variables into a typed struct, once, and reports everything that is
// wrong with them in one line that names each variable.
//
// A field belongs to a variable by its tag, and says what it is for by another:
//
//	type Config struct {
//		config.Base
//		Timeout config.PositiveDuration `env:"PROBE_TIMEOUT, default=5s" desc:"How long one probe may take."`
//		Key     config.Secret           `env:"PROBE_KEY, required" desc:"What the probe signs with."`
//	}
//
// A variable that is set to nothing counts as not set. Rules that concern several variables are a method
// Validate() error of the struct (see Checker). The package never looks at the process's environment
// itself: Load is given a lookup function.
package config

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/sethvargo/go-envconfig"
)

// Checker is a configuration with rules of its own, judged after its variables are read. Validate returns
// Faultf errors, joined when there are several. One that names a variable which could not be read in the
// first place is left out, so a rule may be written as if every field held its value.
type Checker interface {
	Validate() error
}

// Fault is what is wrong with one variable.
type Fault struct {
	Variable string
	Problem  string // safe to show: never the value of a secret
}

// Error returns "NAME: problem" in one line.
func (f *Fault) Error() string { return f.Variable + ": " + f.Problem }

// Faultf returns the fault of a variable; the arguments must not be secrets.
func Faultf(variable, format string, args ...any) error {
	return &Fault{Variable: variable, Problem: oneLine(fmt.Sprintf(format, args...))}
}

// Error is everything that is wrong with a configuration.
type Error struct {
	Faults []*Fault // in the order of the struct's fields
}

// Error returns one line: "config: PORT: …; ENVIRONMENT: …".
func (e *Error) Error() string {
	parts := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		parts[i] = f.Error()
	}
	return "config: " + strings.Join(parts, "; ")
}

// Load fills the struct that dst points to from the variables that lookup knows. An *Error lists every
// fault of the variables; any other error is a mistake in the struct itself.
func Load(lookup func(string) (string, bool), dst any) error {
	target, err := structOf(dst)
	if err != nil {
		return err
	}
	l := loader{lookup: envconfig.LookuperFunc(func(name string) (string, bool) {
		v, ok := lookup(name)
		return v, ok && v != ""
	}), seen: map[string]bool{}}
	if err := walk(target, l.read); err != nil {
		return err
	}
	if err := l.check(target); err != nil {
		return err
	}
	if len(l.faults) > 0 {
		return &Error{Faults: l.faults}
	}
	return nil
}

type loader struct {
	lookup envconfig.Lookuper
	faults []*Fault
	seen   map[string]bool // the variables with a fault
}

// read decodes one variable into its field. Each field goes through the decoder alone, as a struct of one
// field, because the decoder stops at its first error.
func (l *loader) read(f field) error {
	value, given := l.lookup.Lookup(f.name)
	typ := f.meta.Type
	if !given && f.fallback == "" {
		typ = reflect.TypeFor[string]() // nothing to decode: only the tag is judged, and required
	}
	one := reflect.New(reflect.StructOf([]reflect.StructField{{Name: f.meta.Name, Type: typ, Tag: f.meta.Tag}}))
	err := envconfig.ProcessWith(context.Background(), &envconfig.Config{Target: one.Interface(), Lookuper: l.lookup})
	if err == nil {
		if given || f.fallback != "" {
			f.value.Set(one.Elem().Field(0)) // otherwise what the caller put there stays
		}
		return nil
	}
	if mistake(err) {
		return fmt.Errorf("config: field %w", err)
	}
	l.add(&Fault{Variable: f.name, Problem: problemOf(f, value, err)})
	return nil
}

func (l *loader) add(f *Fault) {
	if !l.seen[f.Variable] {
		l.seen[f.Variable] = true
		l.faults = append(l.faults, f)
	}
}

// check runs the rules of the structs inside target, innermost first, and of target itself.
func (l *loader) check(target reflect.Value) error {
	for i := range target.NumField() {
		if sub := target.Field(i); nested(target.Type().Field(i)) {
			if err := l.check(sub); err != nil {
				return err
			}
		}
	}
	c, ok := target.Addr().Interface().(Checker)
	if !ok {
		return nil
	}
	before := len(l.faults)
	err := c.Validate()
	for _, e := range flatten(err) {
		var f *Fault
		if !errors.As(e, &f) {
			return fmt.Errorf("config: %s: Validate must return faults, got %w", target.Type(), e)
		}
		// A method promoted from an embedded struct reports again what that struct reported already.
		if !l.seen[f.Variable] {
			l.faults = append(l.faults, f)
		}
	}
	for _, f := range l.faults[before:] {
		l.seen[f.Variable] = true
	}
	return nil
}

// flatten returns the errors that errors.Join joined.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, flatten(e)...)
		}
		return all
	}
	return []error{err}
}

// mistake reports whether err is about the struct's tags rather than about a value.
func mistake(err error) bool {
	for _, is := range []error{
		envconfig.ErrInvalidEnvvarName, envconfig.ErrMissingKey, envconfig.ErrNoInitNotPtr,
		envconfig.ErrPrefixNotStruct, envconfig.ErrPrivateField, envconfig.ErrRecursivePointer,
		envconfig.ErrRequiredAndDefault, envconfig.ErrUnknownOption,
	} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// problem is the error of this package's decoders: its text is safe even where the value is a secret.
type problem string

func (p problem) Error() string { return string(p) }

// problemOf says what is wrong with a value, without the value if that is a secret.
func problemOf(f field, value string, err error) string {
	if errors.Is(err, envconfig.ErrMissingRequired) {
		return "is required"
	}
	if p, ok := errors.AsType[problem](err); ok {
		return oneLine(string(p))
	}
	if f.secret {
		return "is malformed (the value is a secret and not shown)"
	}
	shown := strconv.Quote(clip(value))
	if f.meta.Type == reflect.TypeFor[time.Duration]() {
		return shown + " is not a duration such as 30s"
	}
	if n, ok := errors.AsType[*strconv.NumError](err); ok {
		switch {
		case errors.Is(n.Err, strconv.ErrRange):
			return shown + " is out of range"
		case n.Func == "ParseBool":
			return shown + " is neither true nor false"
		default:
			return shown + " is not a number"
		}
	}
	return oneLine(strings.TrimPrefix(err.Error(), f.meta.Name+": "))
}

// clip bounds a value in a message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// oneLine keeps a message in one line whatever it quotes.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
