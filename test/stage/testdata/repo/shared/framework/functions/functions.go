// Package functions stands for the functions framework's package of this name: it registers handlers.
package functions

import "net/http"

// Registered has the handlers by name.
var Registered = map[string]http.HandlerFunc{}

// HTTP registers a handler.
func HTTP(name string, handler http.HandlerFunc) { Registered[name] = handler }
