package registry

import (
	"errors"
	"fmt"
)

// Status is the state of an instance. It says nothing about the lease: an instance whose lease has ended
// keeps its status and is discoverable by none.
type Status string

// The statuses there are.
const (
	Starting    Status = "starting"    // registered, not yet proven
	Healthy     Status = "healthy"     // serves
	Degraded    Status = "degraded"    // serves where nothing healthy does
	Unhealthy   Status = "unhealthy"   // failed its checks
	Stopping    Status = "stopping"    // its owner is draining it
	Maintenance Status = "maintenance" // its owner has taken it out
	Quarantined Status = "quarantined" // taken out by incident response
)

// Statuses lists them all.
func Statuses() []Status {
	return []Status{Starting, Healthy, Degraded, Unhealthy, Stopping, Maintenance, Quarantined}
}

// ParseStatus parses the name of a status.
func ParseStatus(s string) (Status, error) {
	if i := Status(s).ordinal(); i < 0 {
		return "", fmt.Errorf("status %s: there is no such status", quote(s))
	}
	return Status(s), nil
}

// ordinal returns the status's place in Statuses, or -1.
func (s Status) ordinal() int {
	switch s {
	case Starting:
		return 0
	case Healthy:
		return 1
	case Degraded:
		return 2
	case Unhealthy:
		return 3
	case Stopping:
		return 4
	case Maintenance:
		return 5
	case Quarantined:
		return 6
	default:
		return -1
	}
}

// statusCount is the number of statuses.
const statusCount = 7

// held reports whether only a decision ends the status, never a heartbeat or a lease that runs out.
func (s Status) held() bool { return s == Stopping || s == Maintenance || s == Quarantined }

// ownersChoice reports whether a patch may ask for the status. To ask for Starting is to ask to be taken
// like a new instance.
func (s Status) ownersChoice() bool { return s == Starting || s == Stopping || s == Maintenance }

// Role is the part an actor plays towards an instance.
type Role uint8

// The roles there are.
const (
	Owner    Role = iota // the service whose instance it is
	Operator             // a holder of admin:write
	Prober               // the health check
	Incident             // incident response, which isolates a service as a whole: see Isolation
)

// Roles lists them all.
func Roles() []Role { return []Role{Owner, Operator, Prober, Incident} }

// String returns the role's name.
func (r Role) String() string {
	switch r {
	case Owner:
		return "owner"
	case Operator:
		return "operator"
	case Prober:
		return "prober"
	case Incident:
		return "incident"
	default:
		return "nobody"
	}
}

// gone stands for the end of a record in the table of transitions.
const gone Status = ""

// serving are the statuses of an instance that nobody has taken out.
var serving = []Status{Starting, Healthy, Degraded, Unhealthy}

// mayCause is the table of who may ask for which transition. The transitions that follow by themselves
// (registering again, coming back after a lapse) are in lifecycle.go.
var mayCause = func() map[Role]map[Status]map[Status]bool {
	table := map[Role]map[Status]map[Status]bool{Owner: {}, Operator: {}, Prober: {}, Incident: {}}
	for _, from := range append([]Status{Stopping, Maintenance}, serving...) {
		for _, role := range []Role{Owner, Operator} {
			table[role][from] = map[Status]bool{Starting: true, Stopping: true, Maintenance: true, gone: true}
		}
	}
	// An owner under quarantine can neither leave it nor start over.
	table[Operator][Quarantined] = map[Status]bool{gone: true}
	// A probe says how an instance is that nobody has taken out; it never ends a decision.
	for _, from := range serving {
		table[Prober][from] = map[Status]bool{Healthy: true, Degraded: true, Unhealthy: true}
	}
	// Incident response lays quarantine over whatever an instance is, and uncovers that again. No record changes.
	table[Incident][Quarantined] = make(map[Status]bool)
	for _, from := range append([]Status{Stopping, Maintenance}, serving...) {
		table[Incident][from] = map[Status]bool{Quarantined: true}
		table[Incident][Quarantined][from] = true
	}
	return table
}()

// MayCause reports whether a role may ask for a transition; to is "" for the end of the record.
func MayCause(role Role, from, to Status) bool { return mayCause[role][from][to] }

// ErrTransition is wrapped by every refusal of a change of status.
var ErrTransition = errors.New("transition not allowed")

// TransitionError says which change of status was refused to whom.
type TransitionError struct {
	From, To   Status // To is "" for the end of the record
	Role       Role
	Generation int64 // of the record; 0 where the decision was made without a store
}

// Error names the transition.
func (e *TransitionError) Error() string {
	if e.To == gone {
		return fmt.Sprintf("%s: an instance that is %s cannot be unregistered by its %s", ErrTransition, e.From, e.Role)
	}
	return fmt.Sprintf("%s: an instance that is %s cannot be set to %s by its %s", ErrTransition, e.From, e.To, e.Role)
}

// Unwrap makes errors.Is(err, ErrTransition) true.
func (e *TransitionError) Unwrap() error { return ErrTransition }
