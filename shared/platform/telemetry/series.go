package telemetry

import (
	"maps"
	"sync"
	"sync/atomic"
)

// series are the metrics of one vector by the labels that they are counted under, which are bounded before.
// Reading takes no lock; a new one replaces the map.
type series[L comparable, M any] struct {
	known atomic.Pointer[map[L]M]
	grow  sync.Mutex
}

// of returns the metric of labels, which find looks up the first time.
func (s *series[L, M]) of(labels L, find func(L) M) M {
	if known := s.known.Load(); known != nil {
		if m, ok := (*known)[labels]; ok {
			return m
		}
	}
	m := find(labels)
	s.grow.Lock()
	defer s.grow.Unlock()
	next := map[L]M{}
	if known := s.known.Load(); known != nil {
		next = maps.Clone(*known)
	}
	next[labels] = m
	s.known.Store(&next)
	return m
}
