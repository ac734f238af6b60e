package security

import (
	"math"
	"strconv"
	"time"
)

// When a subject asks more than usual: many times what it asked in the minutes before, and at least so much
// that it matters.
const (
	volumeFloor   = 600 // requests a minute that nobody minds
	volumeFactor  = 8   // times the usual
	volumeWeight  = 0.2 // of the latest minute in what is usual
	volumeMinutes = 5   // that have to be known before anything is unusual
	volumeForget  = 60  // minutes without a request after which nothing is known
)

// volume is what a subject asks in the present minute and asked in those before: an exponentially weighted
// moving average, in which minutes without requests count as well.
type volume struct {
	minute  int64
	count   int64
	usual   float64
	known   int64 // minutes that usual is of
	unusual int64 // the count that is; 0: none
}

// add counts a request, and reports whether it is the one that is too many.
func (v *volume) add(minute int64) bool {
	if minute != v.minute {
		v.turn(minute)
	}
	v.count++
	return v.count == v.unusual
}

// turn begins another minute. A clock that steps back begins anew.
func (v *volume) turn(minute int64) {
	passed := minute - v.minute
	if v.minute == 0 || passed < 0 || passed > volumeForget {
		*v = volume{minute: minute}
		return
	}
	last := float64(v.count)
	if v.unusual > 0 {
		last = min(last, float64(v.unusual)) // so that an attack does not soon become what is usual
	}
	v.usual += volumeWeight * (last - v.usual)
	if v.known == 0 {
		v.usual = last
	}
	v.usual *= math.Pow(1-volumeWeight, float64(passed-1))
	v.known += passed
	v.minute, v.count, v.unusual = minute, 0, 0
	if v.known >= volumeMinutes {
		v.unusual = max(volumeFloor, int64(volumeFactor*v.usual)) + 1
	}
}

// volume finds a subject that asks far more than it uses to.
func (d *Detector) volume(o Observation) Incident {
	key := (o.Subject.Hash() ^ uint64(len(o.Environment))<<1) | 1 // the environments' names differ in length
	v, mu := d.volumes.lock(key, o.At.UnixNano())
	defer mu.Unlock()
	if !v.add(o.At.Unix() / int64(time.Minute/time.Second)) {
		return Incident{}
	}
	i := o.incident(UnusualVolume, Medium)
	i.Detail = "far more requests than in the minutes before"
	i.Evidence = map[string]string{"requests": strconv.FormatInt(v.count, 10), "usual_per_minute": strconv.FormatInt(int64(v.usual), 10)}
	return i
}
