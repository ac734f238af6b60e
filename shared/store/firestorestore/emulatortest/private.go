package emulatortest

import (
	"syscall"
	"testing"

	"cloud.google.com/go/firestore"
)

// Private is an emulator of one test's own, which it can freeze.
type Private struct {
	t       testing.TB
	process *process
}

// Start starts an emulator that ends with the test, with further options of its command line such as
// --functions_emulator. Where none can be started the test is skipped, or fails in CI.
func Start(t testing.TB, options ...string) *Private {
	t.Helper()
	p, err := start(options...)
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(p.pid, syscall.SIGCONT) // a frozen one could not end
		p.stop()
	})
	return &Private{t, p}
}

// Addr returns host:port.
func (p *Private) Addr() string { return p.process.addr }

// Client returns a client of a project, which goes when the test ends.
func (p *Private) Client(t testing.TB, project string) *firestore.Client {
	t.Helper()
	return clientAt(t, p.Addr(), project)
}

// Pause freezes the emulator: connections are accepted by the system, and nothing is answered.
func (p *Private) Pause() { p.signal(syscall.SIGSTOP) }

// Resume lets a frozen emulator go on with what has come in meanwhile.
func (p *Private) Resume() { p.signal(syscall.SIGCONT) }

func (p *Private) signal(sig syscall.Signal) {
	p.t.Helper()
	if p.process.pid <= 0 {
		p.t.Fatal("emulatortest: the emulator's process id is not known")
	}
	if err := syscall.Kill(p.process.pid, sig); err != nil {
		p.t.Errorf("emulatortest: %s: %v", sig, err)
	}
}
