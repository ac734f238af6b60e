package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/isectech/service-networking/shared/store"
)

func TestCanonical(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		data any
		want string
	}{
		"empty":           {map[string]any{}, `{}`},
		"sorted by bytes": {json.RawMessage(`{"b":1,"a":2,"Z":3,"ä":4,"aa":5,"😀":6,"\uffff":7}`), `{"Z":3,"a":2,"aa":5,"b":1,"ä":4,"` + "\uffff" + `":7,"😀":6}`},
		"nothing escaped": {json.RawMessage(`{"a":"\u003c\u0026\u003e\/\u2028\u00e9"}`), "{\"a\":\"<&>/\u2028é\"}"},
		"controls":        {json.RawMessage(`{"a":"\u0000\u001f\n\"\\"}`), `{"a":"\u0000\u001f\n\"\\"}`},
		"spaces":          {json.RawMessage(" { \"a\" : [ 1 , { } ] } "), `{"a":[1,{}]}`},
		"integral floats": {json.RawMessage(`{"a":1.0,"b":1e3,"c":-0.0,"d":9007199254740992.0,"e":-0,"f":100e-2}`), `{"a":1,"b":1000,"c":0,"d":9007199254740992,"e":0,"f":1}`},
		"integers":        {json.RawMessage(`{"a":9223372036854775807,"b":-9223372036854775808,"c":9007199254740993}`), `{"a":9223372036854775807,"b":-9223372036854775808,"c":9007199254740993}`},
		"floats":          {json.RawMessage(`{"a":0.10,"b":1e300,"c":1e-7,"d":9223372036854775808,"e":1.5e1,"f":9007199254740994.0,"g":5e-324}`), `{"a":0.1,"b":1e+300,"c":1e-07,"d":9.223372036854776e+18,"e":15,"f":9.007199254740994e+15,"g":5e-324}`},
		"large uint":      {map[string]any{"a": uint64(math.MaxUint64)}, `{"a":1.8446744073709552e+19}`},
		"nil slice":       {map[string]any{"a": []string(nil), "b": []string{}}, `{"a":null,"b":[]}`},
		"bytes":           {map[string]any{"a": []byte{1}}, `{"a":"AQ=="}`},
		"replacement":     {map[string]any{"a": "\ufffd"}, "{\"a\":\"\ufffd\"}"},
		"inner reserved":  {map[string]any{"a": map[string]any{"generation": 1}}, `{"a":{"generation":1}}`},
		"20 levels":       {json.RawMessage(strings.Repeat(`{"a":`, 19) + `{}` + strings.Repeat(`}`, 19)), strings.Repeat(`{"a":`, 19) + `{}` + strings.Repeat(`}`, 19)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := store.Canonical(tt.data)
			if err != nil || string(got) != tt.want {
				t.Errorf("got  %s, %v\nwant %s", got, err, tt.want)
			}
		})
	}
}

func TestCanonicalRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]any{
		"null":             nil,
		"nil pointer":      (*struct{})(nil),
		"array":            []int{},
		"string":           "a",
		"invalid UTF-8":    map[string]any{"a": "\xff"},
		"invalid name":     map[string]any{"\xff": 1},
		"raw UTF-8":        json.RawMessage("{\"a\":\"\xc3\"}"),
		"lone surrogate":   json.RawMessage(`{"a":"\ud800"}`),
		"duplicate names":  json.RawMessage(`{"a":1,"a":2}`),
		"escaped twice":    json.RawMessage(`{"a":1,"\u0061":2}`),
		"two values":       json.RawMessage(`{} {}`),
		"cut off":          json.RawMessage(`{"a":`),
		"huge number":      json.RawMessage(`{"a":1e309}`),
		"NaN":              map[string]any{"a": math.NaN()},
		"infinity":         map[string]any{"a": math.Inf(1)},
		"empty name":       map[string]any{"": 1},
		"long name":        map[string]any{strings.Repeat("a", 301): 1},
		"dunder name":      map[string]any{"a": map[string]any{"__a__": 1}},
		"array in array":   map[string]any{"a": []any{[]any{}}},
		"too long":         map[string]any{"a": strings.Repeat("a", store.MaxDocumentBytes)},
		"too large stored": map[string]any{"a": json.RawMessage("[" + strings.Repeat(`{"a":[1,2,3,4,5,6,7,8]},`, 1100) + `{}]`)},
		"too many values":  map[string]any{"a": make([]bool, 10_000)},
		"21 levels":        json.RawMessage(strings.Repeat(`{"a":`, 20) + `{}` + strings.Repeat(`}`, 20)),
		"bomb":             json.RawMessage(strings.Repeat(`{"a":[`, 100_000)),
		"channel":          make(chan int),
	}
	for _, name := range []string{"generation", "updated_at", "updated_by", "expires_at", "deleted", "head"} {
		tests["reserved "+name] = map[string]any{name: 1}
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := store.Canonical(data); !errors.Is(err, store.ErrInvalid) {
				t.Errorf("got %.80s, %v; want ErrInvalid", got, err)
			}
		})
	}
}

// TestCanonicalNumbers checks that a number's canonical spelling survives a back end that keeps integers
// as int64 and everything else as float64.
func TestCanonicalNumbers(t *testing.T) {
	t.Parallel()
	check := func(t *rapid.T, raw string) {
		first, err := store.Canonical(json.RawMessage(`{"a":` + raw + `}`))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.TrimSuffix(strings.TrimPrefix(string(first), `{"a":`), "}")
		var stored any
		if strings.ContainsAny(text, ".e") {
			var f float64
			if err := json.Unmarshal([]byte(text), &f); err != nil {
				t.Fatal(err)
			}
			stored = json.RawMessage(store.AppendFloat(nil, f))
		} else {
			var i int64
			if err := json.Unmarshal([]byte(text), &i); err != nil {
				t.Fatal(err)
			}
			stored = i
		}
		again, err := store.Canonical(map[string]any{"a": stored})
		if err != nil || string(again) != string(first) {
			t.Fatalf("%s became %s, then %s, %v", raw, first, again, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			check(t, fmt.Sprint(rapid.Int64().Draw(t, "int")))
		case 1:
			check(t, fmt.Sprint(rapid.Uint64().Draw(t, "uint")))
		case 2:
			check(t, fmt.Sprintf("%g", rapid.Float64().Draw(t, "float")))
		default:
			check(t, rapid.StringMatching(`-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "text"))
		}
	})
}

func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":1.0}`, `{"b":[1,"\u00e9",null],"a":{"x":-0.0}}`, `{"a":1e400}`, `{"a":"\ud800"}`, `[`, `{"a":[[]]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		once, err := store.Canonical(json.RawMessage(data))
		if err != nil {
			if !errors.Is(err, store.ErrInvalid) {
				t.Fatalf("%q: %v is not ErrInvalid", data, err)
			}
			return
		}
		twice, err := store.Canonical(once)
		if err != nil || string(once) != string(twice) {
			t.Fatalf("%q: not idempotent: %s, then %s, %v", data, once, twice, err)
		}
		// The strictest of what reads it, by way of a Go value.
		var v map[string]any
		if err := json.Unmarshal(once, &v); err != nil {
			t.Fatalf("%q: %s: %v", data, once, err)
		}
	})
}
