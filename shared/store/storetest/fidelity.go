package storetest

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/store"
)

// sameBack writes data and checks that what comes back, by each way of reading, is its canonical form.
func (f *fixture) sameBack(t *testing.T, r store.Ref, data any) {
	t.Helper()
	want, err := store.Canonical(data)
	if err != nil {
		t.Errorf("%s: %v", r, err)
		return
	}
	written := f.set(t, r, data)
	wantEqual(t, r.String()+" as committed", string(want), string(written.Data))
	wantEqual(t, r.String()+" as read", written, f.get(t, r))
	again := f.set(t, r, written.Data)
	wantEqual(t, r.String()+" written from what was read", string(want), string(again.Data))
}

func testFidelity(t *testing.T, f *fixture) {
	for name, data := range map[string]string{
		"empty":    `{}`,
		"nothing":  `{"null":null,"array":[],"object":{},"string":"","nested":{"array":[],"object":{},"null":null}}`,
		"numbers":  `{"a":0,"b":-0,"c":1.0,"d":1e3,"e":0.1,"f":-1.5e-9,"g":1e300,"h":1e20,"i":9007199254740993,"j":9007199254740992.0,"k":12345678901234567890,"l":1.152921504606846976e18,"m":1152921504606846976,"n":5e-324,"o":1e-6,"p":1e-7,"q":-9223372036854775808,"r":9223372036854775807,"s":-0.0}`,
		"strings":  `{"time":"2026-01-04T12:00:00Z","number":"12","bool":"true","base64":"AAECAw==","html":"<a href=\"x\">&</a>","controls":"\u0000\u0001\b\t\n\f\r\u001f\u007f","quotes":"\"\\\/","emoji":"😀","escaped":"\ud83d\ude00","separators":"\u2028\u2029","combining":"e\u0301é","replacement":"\ufffd","max":"\uffff","nul":"a\u0000b"}`,
		"unicode":  `{"ä":1,"Ω":2,"😀":3,"\ufffd":4,"a":5,"Z":6,"\uffff":7}`,
		"nested":   `{"a":{"b":{"c":{"d":{"e":{"f":{"g":[{"h":[{"i":{}}]}]}}}}}}}`,
		"mixed":    `{"a":[1,"1",true,null,1.5,{"b":[]},{}]}`,
		"ordering": `{"z":1,"a":{"z":1,"a":2},"m":[{"z":1,"a":2}]}`,
	} {
		f.sameBack(t, ref(store.Services, name), json.RawMessage(data))
	}
	type typed struct {
		Big    int64          `json:"big"`
		Float  float64        `json:"float"`
		Bytes  []byte         `json:"bytes"`
		Nil    []string       `json:"nil"`
		Empty  []string       `json:"empty"`
		Labels map[string]int `json:"labels"`
		Omit   string         `json:"omit,omitempty"`
	}
	want := typed{Big: math.MinInt64, Float: math.Pi, Bytes: []byte{0, 255}, Empty: []string{},
		Labels: map[string]int{"b": 2, "a": 1}}
	f.sameBack(t, ref(store.Services, "typed"), want)
	var got typed
	if err := f.get(t, ref(store.Services, "typed")).Decode(&got); err != nil {
		t.Error(err)
	}
	wantEqual(t, "decoded", want, got)
	f.verify(t)
}

func testHostileNames(t *testing.T, f *fixture) {
	names := []string{
		"a.b", "a/b", "`", "a`b", "\\", "a\\b", "*", "~", "[0]", "$", "$set", "a b", " ", "\t", "\n", "\x00", "\x01", "\"", "'",
		"__name", "name__", "_", "__", "___", "-", "0", "1a", "true", "null", "ä.ö", "日本", "😀", "a..b", ".", "..", "/", "//",
		"<script>", "&", "%00", "%2F", "{}", "id", "name", "key", "data", "Generation", "GENERATION", "constructor",
		strings.Repeat("n", 300),
	}
	top, nested := object{}, object{}
	for i, name := range names {
		top[name] = i
		nested[name] = object{name: []any{object{name: name}}}
		f.sameBack(t, ref(store.Services, fmt.Sprint(i)), object{name: name, "nested": object{name: i}})
	}
	f.sameBack(t, ref(store.Services, "top"), top)
	f.sameBack(t, ref(store.Services, "nested"), object{"metadata": nested, "generation_": 1,
		"inner": object{"generation": 1, "updated_at": "x", "deleted": true, "head": "y", "expires_at": 5, "updated_by": nil}})
	// A field that goes must be gone.
	f.sameBack(t, ref(store.Services, "top"), object{"a.b": 1})
	f.sameBack(t, ref(store.Services, "nested"), object{"metadata": object{"a.b": 1}})

	for _, id := range []string{"a", "A", "-", "_", "...", ":", "@", "a.b", "a:b@c", "__", "___", "__a", "a__", "0", "00",
		"urn:x:y", strings.Repeat("i", 512)} {
		r := ref(store.Policies, id)
		f.sameBack(t, r, object{"id": id})
	}
	f.verify(t)
}

func testLargeDocument(t *testing.T, f *fixture) {
	f.sameBack(t, ref(store.Services, "text"), object{"text": strings.Repeat("äa\"", 50<<10)})
	list := make([]object, 1500)
	for i := range list {
		list[i] = object{"i": i, "name": fmt.Sprintf("name-%d", i), "text": strings.Repeat("x", 100)}
	}
	f.sameBack(t, ref(store.Services, "list"), object{"list": list})
	f.sameBack(t, ref(store.Services, "limit"), object{"text": strings.Repeat("a", store.MaxDocumentBytes-100)})
	f.verify(t)
}
