package readme

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Outcome is what became of a step.
type Outcome struct {
	Step
	Ran    bool   // false when an earlier step ended the session
	Got    string // standard output and error together
	Exited int
}

// Err says how the outcome differs from what the document says; nil when it does not.
func (o Outcome) Err() error {
	switch {
	case !o.Ran:
		return fmt.Errorf("line %d: $ %s\ndid not run: the session had ended", o.Line, o.Command)
	case o.Exited != o.Status:
		return fmt.Errorf("line %d: $ %s\nended with status %d, not %d, and printed\n%s", o.Line, o.Command, o.Exited, o.Status, o.Got)
	case !Matches(o.Want, o.Got):
		return fmt.Errorf("line %d: $ %s\nprinted\n%s\nnot\n%s", o.Line, o.Command, o.Got, o.Want)
	}
	return nil
}

// Run runs the steps one after the other in one bash session, so that what one sets the next can use, in the
// folder dir with the environment env. A pipeline fails if any part does. When ctx ends, the session and all
// that it started is killed.
func Run(ctx context.Context, dir string, env []string, steps []Step) ([]Outcome, error) {
	scratch, err := os.MkdirTemp("", "readme")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(scratch) }()

	// Each command is sourced from a file of its own: a fault in its syntax then ends that step alone.
	var script strings.Builder
	script.WriteString("set -o pipefail\n")
	for i, s := range steps {
		if err := os.WriteFile(filepath.Join(scratch, fmt.Sprintf("%d.sh", i)), []byte(s.Command+"\n"), 0o600); err != nil {
			return nil, err
		}
		fmt.Fprintf(&script, ". '%[1]s/%[2]d.sh' </dev/null >'%[1]s/%[2]d.out' 2>&1; echo $? >'%[1]s/%[2]d.status'\n", scratch, i)
	}
	cmd := exec.CommandContext(ctx, "bash", "--noprofile", "--norc", "-c", script.String())
	cmd.Dir, cmd.Env = dir, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		// The session ends with the status of its last step or where a step ends it: outcomes tell.
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || ctx.Err() != nil {
			return nil, errors.Join(err, ctx.Err())
		}
	}
	return outcomes(scratch, steps)
}

func outcomes(scratch string, steps []Step) ([]Outcome, error) {
	outcomes := make([]Outcome, len(steps))
	for i, s := range steps {
		outcomes[i].Step = s
		status, err := os.ReadFile(filepath.Join(scratch, fmt.Sprintf("%d.status", i)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		got, err := os.ReadFile(filepath.Join(scratch, fmt.Sprintf("%d.out", i)))
		if err != nil {
			return nil, err
		}
		exited, err := strconv.Atoi(strings.TrimSpace(string(status)))
		if err != nil {
			return nil, err
		}
		outcomes[i].Ran, outcomes[i].Got, outcomes[i].Exited = true, string(got), exited
	}
	return outcomes, nil
}
