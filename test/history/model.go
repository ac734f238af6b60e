// Package history records what concurrent clients ask of the registry and are answered, and judges it afterwards:
// whether there is an order in which each call took its effect at one moment while it was under way (Knossos's and
// Jepsen's linearizability, checked by porcupine), and whether anybody was shown an instance that had ended.
package history

import (
	"fmt"
	"net/http"

	"github.com/anishathalye/porcupine"
)

// input is a call. It is about one instance, and instances have nothing to do with each other.
type input struct {
	kind    kind
	id      string
	version string // of a registration: no two share one, so that it says whose registration is there
	weight  int    // of a patch
	ifMatch int64  // of a patch; 0: none
}

type kind string

const (
	kindRegister   kind = "register"
	kindHeartbeat  kind = "heartbeat"
	kindPatch      kind = "patch"
	kindUnregister kind = "unregister"
)

// output is the answer to a call.
type output struct {
	status     int // of HTTP
	generation int64
	version    string
	weight     int
	journaled  bool // nobody was answered, and by the journal's word the call's effect is this generation
}

// state is what the model keeps of an instance. Generations go on when it has ended.
type state struct {
	there      bool
	generation int64
	version    string
	weight     int
}

// shows reports whether an answer describes the state.
func (s state) shows(o output) bool {
	return s.there && s.generation == o.generation && s.version == o.version && s.weight == o.weight
}

// after returns the state that a call makes where it has its effect; changed is false where there is none to have.
func (s state) after(in input) (next state, changed bool) {
	next = s
	switch in.kind {
	case kindRegister:
		next.there, next.version, next.weight = true, in.version, 1
	case kindPatch:
		if next.weight = in.weight; !s.there || in.ifMatch != 0 && in.ifMatch != s.generation {
			return s, false
		}
	case kindUnregister:
		next = state{generation: s.generation}
		if !s.there {
			return s, false
		}
	case kindHeartbeat:
		return s, false
	}
	if next == s {
		return s, false
	}
	next.generation++
	return next, true
}

// step is the registry, told as a sequence.
func step(s state, in input, out output) (bool, state) {
	next, changed := s.after(in)
	if out.journaled {
		return changed && next.generation == out.generation, next
	}
	switch out.status {
	case http.StatusConflict:
		return true, s // another was quicker; the call changed nothing
	case http.StatusNotFound:
		return !s.there && in.kind != kindRegister, s
	case http.StatusPreconditionFailed:
		return in.kind == kindPatch && s.there && in.ifMatch != 0 && in.ifMatch != s.generation && out.generation == s.generation, s
	case http.StatusNoContent:
		return in.kind == kindUnregister && s.there, next
	case http.StatusCreated:
		return in.kind == kindRegister && !s.there && next.shows(out), next
	case http.StatusOK:
		held := in.kind != kindPatch || in.ifMatch == 0 || in.ifMatch == s.generation
		return in.kind != kindUnregister && s.there && held && next.shows(out), next
	default:
		return false, s
	}
}

// model is what porcupine checks a history by.
func model() porcupine.Model {
	return porcupine.Model{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			byID := make(map[string][]porcupine.Operation)
			for _, o := range all {
				in, _ := o.Input.(input)
				byID[in.id] = append(byID[in.id], o)
			}
			parts := make([][]porcupine.Operation, 0, len(byID))
			for _, part := range byID {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() any { return state{} },
		Step: func(was, asked, answer any) (bool, any) {
			s, _ := was.(state)
			in, _ := asked.(input)
			out, _ := answer.(output)
			return step(s, in, out)
		},
		DescribeOperation: func(in, out any) string {
			return fmt.Sprintf("%+v -> %+v", in, out)
		},
		DescribeState: func(s any) string { return fmt.Sprintf("%+v", s) },
	}
}
