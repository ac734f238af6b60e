package history

import (
	"math"
	"testing"

	"github.com/anishathalye/porcupine"
)

// The model tells what no registry may do from what any may.
func TestModel(t *testing.T) {
	t.Parallel()
	op := func(began, ended int64, in input, out output) porcupine.Operation {
		in.id = "x"
		return porcupine.Operation{Input: in, Output: out, Call: began, Return: ended}
	}
	reg := func(v string) input { return input{kind: kindRegister, version: v} }
	is := func(status int, generation int64, v string) output {
		return output{status: status, generation: generation, version: v, weight: 1}
	}
	end, beat := input{kind: kindUnregister}, input{kind: kindHeartbeat}
	for name, tt := range map[string]struct {
		history []porcupine.Operation
		want    bool
	}{
		"one after the other": {[]porcupine.Operation{
			op(1, 2, reg("1"), is(201, 1, "1")), op(3, 4, reg("1"), is(200, 1, "1")), op(5, 6, reg("2"), is(200, 2, "2")),
			op(7, 8, end, output{status: 204}), op(9, 10, beat, output{status: 404}), op(11, 12, reg("3"), is(201, 4, "3")),
		}, true},
		"two that are new": {[]porcupine.Operation{op(1, 4, reg("1"), is(201, 1, "1")), op(2, 3, reg("2"), is(201, 1, "2"))}, false},
		"a ghost":          {[]porcupine.Operation{op(1, 2, reg("1"), is(201, 1, "1")), op(3, 4, end, output{status: 204}), op(5, 6, beat, is(200, 1, "1"))}, false},
		"a lost write":     {[]porcupine.Operation{op(1, 2, reg("1"), is(201, 1, "1")), op(3, 4, reg("2"), is(200, 2, "2")), op(5, 6, beat, is(200, 1, "1"))}, false},
		"a generation that begins again": {[]porcupine.Operation{
			op(1, 2, reg("1"), is(201, 1, "1")), op(3, 4, end, output{status: 204}), op(5, 6, reg("1"), is(201, 1, "1")),
		}, false},
		"an answer lost that had its effect": {[]porcupine.Operation{op(1, math.MaxInt64, reg("1"), output{journaled: true, generation: 1}), op(3, 4, beat, is(200, 1, "1"))}, true},
		"an answer lost of what came late":   {[]porcupine.Operation{op(1, math.MaxInt64, reg("1"), output{journaled: true, generation: 1}), op(3, 4, beat, output{status: 404})}, true},
		"an answer lost that had two": {[]porcupine.Operation{
			op(1, math.MaxInt64, reg("1"), output{journaled: true, generation: 1}), op(3, 4, end, output{status: 204}), op(5, 6, beat, is(200, 3, "1")),
		}, false},
		"a precondition": {[]porcupine.Operation{
			op(1, 2, reg("1"), is(201, 1, "1")),
			op(3, 4, input{kind: kindPatch, weight: 5, ifMatch: 1}, output{status: 200, generation: 2, version: "1", weight: 5}),
			op(5, 6, input{kind: kindPatch, weight: 6, ifMatch: 1}, output{status: 412, generation: 2}),
		}, true},
		"a precondition that held nobody back": {[]porcupine.Operation{
			op(1, 2, reg("1"), is(201, 1, "1")), op(3, 4, reg("2"), is(200, 2, "2")),
			op(5, 6, input{kind: kindPatch, weight: 6, ifMatch: 1}, output{status: 200, generation: 3, version: "2", weight: 6}),
		}, false},
		"a command twice": {[]porcupine.Operation{
			op(1, 9, reg("1"), output{journaled: true, generation: 1}), op(3, 4, end, output{status: 204}), op(5, 6, beat, is(200, 3, "1")),
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := porcupine.CheckOperations(model(), tt.history); got != tt.want {
				t.Errorf("linearizable: %t", got)
			}
		})
	}
}
