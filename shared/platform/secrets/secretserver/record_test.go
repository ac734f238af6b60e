package secretserver

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func FuzzDecode(f *testing.F) {
	intact, err := encode(&record{
		Name: "key", CreateTime: time.Unix(1767528000, 0).UTC(), Revision: 2,
		Labels: map[string]string{"a": "b"}, Aliases: map[string]int64{"first": 1},
		Versions: []version{{State: "ENABLED", CreateTime: time.Unix(1767528001, 0).UTC(), Revision: 1, Payload: []byte("x")}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(intact)
	f.Add([]byte(`{"crc32c":0,"secret":null}`))
	f.Add([]byte(`{"crc32c":0}`))
	f.Add([]byte(`{"crc32c":3547864398,"secret":{}}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := decode(file)
		if err != nil {
			return
		}
		// What is accepted can be written and read again, and is then the same.
		again, err := encode(r)
		if err != nil {
			t.Fatal(err)
		}
		r2, err := decode(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, r2); diff != "" && !bytes.Equal(file, again) {
			t.Errorf("not the same when read again (-first +second):\n%s", diff)
		}
		for i := range r.Versions {
			_ = r.versionProto("p", int64(i)+1)
		}
	})
}

func FuzzParseVersion(f *testing.F) {
	for _, name := range []string{"projects/p/secrets/s/versions/1", "projects/p/secrets/s/versions/latest", "projects//secrets/s/versions/1", "/versions/", "projects/p/secrets/s/versions/versions/1", "projects/p/locations/l/secrets/s/versions/1"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		r, err := parseVersion(name)
		if err == nil && r.secretName()+"/versions/"+r.version != name {
			t.Errorf("%q parsed as %+v", name, r)
		}
	})
}
