package rediscache

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestFloors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFloors(5 * time.Second)
		if !f.admit("a", 3) {
			t.Error("what nobody has seen is not taken")
		}
		if f.admit("a", 2) {
			t.Error("an older generation is taken after a newer one")
		}
		f.gone("never there")
		f.raise("gone", 2)
		f.gone("gone")
		f.raise("gone", 7)
		if !f.closed("gone") || f.closed("a") || f.closed("never there") {
			t.Error("what has become unknown is taken from Redis, or something else is not")
		}
		f.raise("a", 5)
		f.raise("a", 4)
		time.Sleep(9 * time.Second) // at least five seconds, whenever the span began
		f.raise("b", 1)
		if f.admit("b", 0) || !f.admit("b", 1) {
			t.Error("b is not remembered")
		}
		time.Sleep(2 * time.Second)
		if !f.admit("a", 1) {
			t.Error("a is remembered for longer than Redis may hold it")
		}
		time.Sleep(time.Minute)
		if n, rotating := held(f); n > 0 || rotating {
			t.Errorf("something is left: %d, %t", n, rotating)
		}
	})
}

func TestFloorsLastLongEnough(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const span = 5 * time.Second
		f := newFloors(span)
		for after := range span / time.Second { // at every moment of a span
			f.raise("x", 1)
			id := fmt.Sprint(after)
			f.raise(id, 2)
			time.Sleep(span - time.Millisecond)
			if f.admit(id, 1) {
				t.Errorf("%s is forgotten too early", id)
			}
			time.Sleep(time.Millisecond + time.Second)
		}
		time.Sleep(time.Minute)
	})
}

func TestFloorsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFloors(5 * time.Second)
		for i := range maxFloors {
			f.raise(fmt.Sprint(i), 1)
		}
		if f.closed("0") {
			t.Error("a known document is not taken though all are remembered")
		}
		f.raise("one more", 2)
		if !f.closed("0") || !f.closed("one more") || !f.closed("unheard of") {
			t.Error("something is taken though not all is remembered")
		}
		if n, _ := held(f); n > maxFloors {
			t.Errorf("%d are remembered", n)
		}
		time.Sleep(11 * time.Second)
		if f.closed("unheard of") || f.closed("one more") {
			t.Error("nothing is taken for ever")
		}
		time.Sleep(time.Minute)
	})
}

// held returns how many generations are remembered, and whether they are going to be forgotten.
func held(f *floors) (n int, rotating bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.now.of) + len(f.before.of), f.rotating
}
