package e2e

import "testing"

// TestProcesses tells the story on separate processes, and then takes them apart.
func TestProcesses(t *testing.T) {
	p := startProcesses(t)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *Processes)
	}{
		{"story", func(t *testing.T, p *Processes) { tellStory(t, p) }},
		{"32 writers", writersOfOne},
		{"writes under faults", writesUnderFaults},
		{"lives under faults", livesUnderFaults}, // before there are too many others to be shown
		{"many commands", manyCommands},
		{"propagation", propagation},
		{"functions are killed", functionsKilled},
		{"Redis is killed", redisKilled},
		{"Firestore stops", firestoreStopped},
		{"pages", listedWhileWritten}, // last: the more there is, the longer the emulator takes for everything
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, p) })
	}
}
