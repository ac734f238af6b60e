package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

// Nothing but a yes is one.
func TestConfirm(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]bool{
		"yes\n": true, "Y\n": true, " yes \r\n": true, "yes": true,
		"": false, "\n": false, "no\n": false, "yes please\n": false, "n\nyes\n": false, "yesyes\n": false,
		strings.Repeat(" ", 200) + "yes\n": false,
	} {
		out := new(bytes.Buffer)
		if got, err := confirm(strings.NewReader(said), out, "sure?"); got != want || err != nil || out.String() != "sure? [yes/no] " {
			t.Errorf("%q: %v %v, asked %q", said, got, err, out)
		}
	}
	broken := errors.New("broken")
	if yes, err := confirm(iotest.ErrReader(broken), io.Discard, "sure?"); yes || !errors.Is(err, broken) {
		t.Errorf("a broken line: %v, %v", yes, err)
	}
}

func TestIsTerminal(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"policy_test.go", os.DevNull} {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = file.Close() })
		if isTerminal(file) {
			t.Errorf("%s is taken for a person", name)
		}
	}
	if isTerminal(strings.NewReader("")) {
		t.Error("a text is taken for a person")
	}
}

// Where nobody can see what would change, nobody is asked.
func TestApplyAsksNobodyBlindly(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		file, output string
		asked        bool
	}{
		"a pipeline": {"policy.json", "text", false}, "the document is standard input": {"-", "text", true}, "JSON": {"policy.json", "json", true},
	} {
		a := &app{Globals: &Globals{Output: tt.output}, in: strings.NewReader("yes\n"), out: io.Discard, errs: io.Discard, asked: tt.asked}
		if err := (&PolicyApplyCmd{File: tt.file}).Run(t.Context(), a); !errors.As(err, new(usageError)) || !strings.Contains(err.Error(), "--yes") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
