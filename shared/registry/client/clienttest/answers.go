package clienttest

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/isectech/service-networking/shared/registry"
)

// ServeHTTP answers a request.
func (f *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r.Method+" "+r.URL.Path)
	if f.fault != nil {
		if told := f.fault(r); told != nil {
			told.write(w)
			return
		}
	}
	w.Header().Set("Date", f.now().UTC().Format(http.TimeFormat))
	w.Header().Set("X-Registry-Age", "0.000")
	const prefix = "/internal/registry/"
	path, ok := strings.CutPrefix(r.URL.Path, prefix)
	ref, verb, _ := strings.Cut(strings.TrimPrefix(path, "services/"), "/")
	switch {
	case !ok:
		refuse(w, http.StatusNotFound, "not_found")
	case r.Method == http.MethodPost && path == "register":
		f.register(w, r)
	case r.Method == http.MethodPut && verb == "heartbeat":
		f.heartbeat(w, ref)
	case r.Method == http.MethodPatch:
		f.patch(w, r, ref)
	case r.Method == http.MethodDelete:
		if f.records[ref] == nil {
			refuse(w, http.StatusNotFound, "not_found")
			return
		}
		f.remove(ref)
		w.WriteHeader(http.StatusNoContent)
	case path == "watch":
		f.watch(w, r)
	default:
		f.list(w, r, ref)
	}
}

func (f *Registry) register(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	reg, findings := registry.Decode(body)
	if len(findings) > 0 {
		refuse(w, http.StatusBadRequest, "invalid_request")
		return
	}
	if reg.ServiceName = f.name(reg.ServiceName); reg.ServiceName == "" {
		refuse(w, http.StatusForbidden, "not_owner")
		return
	}
	var current *registry.Record
	status := http.StatusCreated
	if is := f.records[reg.ServiceID]; is != nil {
		current, status = &is.Record, http.StatusOK
	}
	next, outcome, err := registry.Register(current, reg, f.now())
	if err != nil {
		refuse(w, http.StatusForbidden, "not_owner")
		return
	}
	if outcome == registry.Unchanged {
		current.LeaseEnd = next.LeaseEnd
	} else {
		f.save(&next)
	}
	answer(w, status, f.instance(f.records[reg.ServiceID]))
}

func (f *Registry) heartbeat(w http.ResponseWriter, id string) {
	is := f.records[id]
	if is == nil {
		refuse(w, http.StatusNotFound, "not_found")
		return
	}
	next, effect := registry.Heartbeat(is.Record, f.now())
	if effect == registry.All {
		f.save(&next)
	} else {
		is.Record = next
	}
	answer(w, http.StatusOK, f.instance(f.records[id]))
}

func (f *Registry) patch(w http.ResponseWriter, r *http.Request, id string) {
	is := f.records[id]
	if is == nil {
		refuse(w, http.StatusNotFound, "not_found")
		return
	}
	body, _ := io.ReadAll(r.Body)
	patch, findings := registry.DecodePatch(body)
	if len(findings) > 0 {
		refuse(w, http.StatusBadRequest, "invalid_request")
		return
	}
	next, effect, err := patch.Apply(is.Record, registry.Owner, f.now())
	if err != nil {
		refuse(w, http.StatusConflict, "conflict")
		return
	}
	if effect == registry.All {
		f.save(&next)
	}
	answer(w, http.StatusOK, f.instance(f.records[id]))
}

func (f *Registry) list(w http.ResponseWriter, r *http.Request, ref string) {
	name := f.name(ref)
	if name == "" {
		if is := f.records[ref]; is != nil {
			answer(w, http.StatusOK, f.instance(is))
			return
		}
		refuse(w, http.StatusNotFound, "not_found")
		return
	}
	query := r.URL.Query()
	limit, _ := strconv.Atoi(query.Get("limit"))
	page := []registry.Instance{}
	next := ""
	for _, i := range f.since(0, name, query.Get("environment")) {
		if i.Service.ServiceID <= query.Get("page_token") {
			continue
		}
		if limit > 0 && len(page) == limit {
			next = page[limit-1].ServiceID
			break
		}
		page = append(page, i.Service)
	}
	w.Header().Set("X-Registry-Index", strconv.FormatInt(f.index, 10))
	answer(w, http.StatusOK, map[string]any{"service_name": name, "services": page, "next_page_token": next})
}

type change struct {
	Type    registry.ChangeType `json:"type"`
	Service registry.Instance   `json:"service"`
}

// watch waits, which is why it gives the lock up.
func (f *Registry) watch(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	index, _ := strconv.ParseInt(query.Get("index"), 10, 64)
	wait, _ := time.ParseDuration(query.Get("wait"))
	end := time.NewTimer(wait)
	defer end.Stop()
	f.watches++
	defer func() { f.watches-- }()
	changes := []change{}
	for waiting := true; waiting; {
		if f.fault != nil {
			if told := f.fault(r); told != nil {
				told.write(w)
				return
			}
		}
		if index != 0 && index < f.horizon {
			refuse(w, http.StatusGone, "gone")
			return
		}
		if changes = append(changes, f.since(index, f.name(query.Get("name")), query.Get("environment"))...); len(changes) > 0 {
			break
		}
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
		case <-end.C:
			waiting = false
		case <-r.Context().Done():
			waiting = false
		}
		f.mu.Lock()
	}
	w.Header().Set("X-Registry-Index", strconv.FormatInt(f.index, 10))
	answer(w, http.StatusOK, map[string]any{"index": max(index, f.index), "changes": changes})
}

func refuse(w http.ResponseWriter, status int, code string) {
	answer(w, status, map[string]string{"error": code, "message": code})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
