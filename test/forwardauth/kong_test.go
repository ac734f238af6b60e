package forwardauth

import (
	"net/http"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
)

// The parts of kong.yaml that the simulation goes by.
type kongFile struct {
	Services []struct {
		Name, URL string
		Routes    []struct{ Paths []string }
	}
	Plugins []struct {
		Name   string
		Config struct{ Access []string }
	}
}

// startKong simulates Kong as far as its plugin pre-function sees it: the functions of kong.yaml run in Lua, over
// those parts of the PDK and of lua-resty-http that they use.
func startKong(t *testing.T, b *bench) string {
	t.Helper()
	var file kongFile
	load(t, "kong.yaml", b.variables(""), &file)
	return simulate(t, func(w http.ResponseWriter, r *http.Request) {
		raw, query, _ := strings.Cut(targetOf(r), "?")
		normal, ok := envoyNormal(raw) // the same rules, but for escaped slashes, which stay
		if !ok {
			normal = raw
		}
		for _, service := range file.Services {
			if !strings.HasPrefix(normal, service.Routes[0].Paths[0]) {
				continue
			}
			k := &kong{w: w, r: r, service: service.Name, raw: raw, query: query, normal: normal}
			for _, plugin := range file.Plugins {
				if k.run(t, plugin.Config.Access) {
					return
				}
			}
			r.Header.Set("X-Forwarded-Host", r.Host) // as trusted_ips, which is empty, has it
			pass(w, r, strings.TrimPrefix(service.URL, "http://"), targetOf(r))
			return
		}
		w.WriteHeader(http.StatusNotFound)
	})
}

// kong is one request in Kong.
type kong struct {
	w                  http.ResponseWriter
	r                  *http.Request
	service            string
	raw, query, normal string
	left               bool // kong.response.exit was called
}

// run runs the functions of a plugin, and reports whether they have answered.
func (k *kong) run(t *testing.T, functions []string) bool {
	state := lua.NewState()
	defer state.Close()
	state.SetGlobal("kong", k.pdk(state))
	state.PreloadModule("resty.http", k.restyHTTP)
	for _, text := range functions {
		if err := state.DoString(text); err != nil {
			t.Errorf("kong.yaml: %v", err)
			k.w.WriteHeader(http.StatusInternalServerError)
			return true
		}
		if k.left {
			return true
		}
	}
	return false
}

// pdk returns the global kong.
func (k *kong) pdk(state *lua.LState) *lua.LTable {
	table := func(fields map[string]lua.LValue) *lua.LTable {
		t := state.NewTable()
		for name, value := range fields {
			t.RawSetString(name, value)
		}
		return t
	}
	text := func(value string) lua.LValue {
		return state.NewFunction(func(l *lua.LState) int { l.Push(lua.LString(value)); return 1 })
	}
	return table(map[string]lua.LValue{
		"router": table(map[string]lua.LValue{"get_service": state.NewFunction(func(l *lua.LState) int {
			l.Push(table(map[string]lua.LValue{"name": lua.LString(k.service)}))
			return 1
		})}),
		"request": table(map[string]lua.LValue{
			"get_raw_path": text(k.raw), "get_path": text(k.normal), "get_raw_query": text(k.query), "get_method": text(k.r.Method),
			"get_headers": state.NewFunction(func(l *lua.LState) int { l.Push(k.headers(l)); return 1 }),
		}),
		"client":   table(map[string]lua.LValue{"get_ip": text(clientAddress(k.r))}),
		"response": table(map[string]lua.LValue{"exit": state.NewFunction(k.exit)}),
		"service": table(map[string]lua.LValue{"request": table(map[string]lua.LValue{
			"clear_header": state.NewFunction(func(l *lua.LState) int { delete(k.r.Header, http.CanonicalHeaderKey(l.CheckString(1))); return 0 }),
			"set_header":   state.NewFunction(func(l *lua.LState) int { k.r.Header.Set(l.CheckString(1), l.CheckString(2)); return 0 }),
		})}),
	})
}

// headers are those of the request, by their names in lower case: a text each, or a list where there are several.
func (k *kong) headers(l *lua.LState) *lua.LTable {
	all := l.NewTable()
	all.RawSetString("host", lua.LString(k.r.Host))
	for name, values := range k.r.Header {
		if len(values) == 1 {
			all.RawSetString(strings.ToLower(name), lua.LString(values[0]))
			continue
		}
		list := l.NewTable()
		for _, v := range values {
			list.Append(lua.LString(v))
		}
		all.RawSetString(strings.ToLower(name), list)
	}
	return all
}

// exit is kong.response.exit(status, body, headers).
func (k *kong) exit(l *lua.LState) int {
	l.OptTable(3, l.NewTable()).ForEach(func(name, value lua.LValue) { k.w.Header().Set(name.String(), value.String()) })
	k.w.WriteHeader(l.CheckInt(1))
	_, _ = k.w.Write([]byte(l.OptString(2, "")))
	k.left = true
	return 0
}

// restyHTTP is the module resty.http with new, set_timeouts and request_uri.
func (k *kong) restyHTTP(l *lua.LState) int {
	client := l.NewTable()
	client.RawSetString("set_timeouts", l.NewFunction(func(*lua.LState) int { return 0 }))
	client.RawSetString("request_uri", l.NewFunction(k.requestURI))
	module := l.NewTable()
	module.RawSetString("new", l.NewFunction(func(l *lua.LState) int { l.Push(client); return 1 }))
	l.Push(module)
	return 1
}

func (k *kong) requestURI(l *lua.LState) int {
	address, path, _ := strings.Cut(strings.TrimPrefix(l.CheckString(2), "http://"), "/")
	options := l.CheckTable(3)
	ask := outgoing(k.r.Context(), options.RawGetString("method").String(), address, "/"+path, nil)
	headers, _ := options.RawGetString("headers").(*lua.LTable)
	headers.ForEach(func(name, value lua.LValue) {
		list, ok := value.(*lua.LTable)
		if !ok {
			ask.Header.Add(name.String(), value.String())
			return
		}
		list.ForEach(func(_, v lua.LValue) { ask.Header.Add(name.String(), v.String()) })
	})
	answer, err := askAuthz(ask)
	if err != nil {
		l.Push(lua.LNil)
		l.Push(lua.LString(err.Error()))
		return 2
	}
	said, got, meta := l.NewTable(), l.NewTable(), l.NewTable()
	meta.RawSetString("__index", l.NewFunction(func(l *lua.LState) int { // in whatever case
		if values := answer.header.Values(l.CheckString(2)); len(values) > 0 {
			l.Push(lua.LString(values[0]))
			return 1
		}
		return 0
	}))
	got.Metatable = meta
	said.RawSetString("status", lua.LNumber(answer.status))
	said.RawSetString("body", lua.LString(answer.body))
	said.RawSetString("headers", got)
	l.Push(said)
	return 1
}
