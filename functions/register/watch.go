package register

import (
	"math"
	"net/http"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/registry"
)

// A watcher waits for half a minute unless it says otherwise. The longest wait ends well before a
// request's own deadline.
const (
	defaultWait = 30 * time.Second
	maxWait     = 50 * time.Second
)

// change is one change as watchers read it.
type change struct {
	Type    registry.ChangeType `json:"type"`
	Service any                 `json:"service"`
}

// removed is what is left to say of an instance.
type removed struct {
	ServiceID   string           `json:"service_id"`
	ServiceName string           `json:"service_name"`
	Environment auth.Environment `json:"environment"`
	DeletedAt   time.Time        `json:"deleted_at"`
}

// watch answers as soon as something is newer than the caller's index, or after its wait with nothing.
func (s *Service) watch(w http.ResponseWriter, r *http.Request) error {
	if _, _, err := s.guard.Caller(r, readers); err != nil {
		return err
	}
	params, err := httpx.Query(r, "index", "wait", "name", "environment")
	if err != nil {
		return err
	}
	index, err := params.Int("index", 0, 0, math.MaxInt64)
	if err != nil {
		return err
	}
	wait, err := params.Duration("wait", min(defaultWait, s.longestWait()), maxWait)
	if err != nil {
		return err
	}
	if _, err := httpx.IfNoneMatch(r); err != nil {
		return err // before the wait
	}
	env := auth.Environment(params["environment"])
	if env != "" {
		if _, err := auth.ParseEnvironment(string(env)); err != nil {
			return httpx.InvalidRequest("the request is not valid", httpx.FieldError{Field: "environment", Message: "want production, staging or development"})
		}
	}
	defer s.deps.Metrics.Watching()()
	view, changes, err := s.registry.Watch(r.Context(), index, params["name"], env, min(wait, s.longestWait()))
	if err != nil {
		return err
	}
	stamp(w, view)
	tag := view.Tag(params["name"], env)
	w.Header().Set("ETag", tag)
	if len(changes) == 0 { // what has been told of is told whatever the caller has
		if same, err := httpx.NotModified(w, r, tag); same || err != nil {
			return err
		}
	}
	list := make([]change, len(changes))
	for i, c := range changes {
		list[i] = change{c.Type, c.Instance}
		if c.Type == registry.InstanceDeleted {
			list[i].Service = removed{c.Instance.ServiceID, c.Instance.ServiceName, c.Instance.Environment, c.Instance.UpdatedAt}
		}
	}
	return httpx.WriteJSON(w, http.StatusOK, map[string]any{"index": max(view.Index(), index), "changes": list})
}

// longestWait leaves a request the time to be answered before its deadline.
func (s *Service) longestWait() time.Duration {
	return min(maxWait, s.cfg.RequestTimeout.Duration()*4/5)
}
