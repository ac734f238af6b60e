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
	file, err := os.Open("policy_test.go")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if isTerminal(file) || isTerminal(strings.NewReader("")) {
		t.Error("a file is taken for a person")
	}
}
