package rediscache

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/store"
)

var start = time.Date(2026, 1, 4, 12, 0, 0, 123_456_000, time.UTC)

func document(id string, generation int64, data string) store.Document {
	return store.Document{
		Ref: store.Ref{Collection: store.Services, ID: id}, Generation: generation, UpdatedAt: start,
		UpdatedBy: "isectech-frontend", Head: strings.Repeat("a", 64), Data: json.RawMessage(data),
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	expiring := document("a", 1, `{}`)
	expiring.ExpiresAt = start.Add(time.Hour)
	hostile := document(`a:b@c`, 1<<62, `{"data":{"checksum":"x"},"html":"<a href=\"x\">&</a> \",\"data\":{"}`)
	hostile.UpdatedBy = `x","data":{"a":1},"` + "\u2028<>&"
	for name, doc := range map[string]store.Document{
		"plain":    document("backend-services-001", 7, `{"environment":"production","service_id":"backend-services-001"}`),
		"empty":    document("a", 1, `{}`),
		"expiring": expiring,
		"hostile":  hostile,
	} {
		raw := encodeRecord(doc)
		if !json.Valid(raw) {
			t.Errorf("%s: not JSON: %s", name, raw)
		}
		got, ok := decodeRecord(raw)
		if !ok {
			t.Errorf("%s: %s is not a record", name, raw)
			continue
		}
		if diff := cmp.Diff(doc, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestRecordFormat pins what other programs read, and what the scripts look for.
func TestRecordFormat(t *testing.T) {
	t.Parallel()
	got := string(encodeRecord(document("a", 7, `{"n":1}`)))
	want := `{"format":1,"generation":7,"checksum":"` + got[len(`{"format":1,"generation":7,"checksum":"`):][:8] +
		`","id":"a","updated_at_us":1767528000123456,"updated_by":"isectech-frontend","expires_at_us":0,"head":"` +
		strings.Repeat("a", 64) + `","data":{"n":1}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !strings.Contains(leaveScript, `'^`+recordStart+`(%d+),'`) {
		t.Error("the script reads the generation off another spelling")
	}
}

// TestDamagedRecord changes every byte of a record, and cuts it everywhere.
func TestDamagedRecord(t *testing.T) {
	t.Parallel()
	raw := encodeRecord(document("a", 7, `{"n":1}`))
	for i := range raw {
		for _, bit := range []byte{1, 2, 16, 128} {
			damaged := append([]byte(nil), raw...)
			damaged[i] ^= bit
			if doc, ok := decodeRecord(damaged); ok {
				t.Errorf("byte %d: %s was read as %+v", i, damaged, doc)
			}
		}
		if _, ok := decodeRecord(raw[:i]); ok {
			t.Errorf("%s was read", raw[:i])
		}
	}
	if _, ok := decodeRecord(append(raw, ' ')); ok {
		t.Error("a record with something behind it was read")
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(encodeRecord(document("a", 7, `{"n":1}`)))
	f.Add([]byte(`{"format":1,"generation":1,"checksum":"00000000","data":{}}`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		doc, ok := decodeRecord(raw)
		if !ok {
			return
		}
		if doc.Generation < 1 || len(doc.Data) < 2 {
			t.Errorf("%q was read as %+v", raw, doc)
		}
	})
}

func TestEnvironmentOf(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		data any
		want string
	}{
		"deletion": {nil, ""},
		"struct": {struct {
			Environment string `json:"environment"`
		}{"staging"}, "staging"},
		"raw":           {json.RawMessage(`{"environment":"production"}`), "production"},
		"none":          {map[string]any{"a": 1}, ""},
		"other type":    {map[string]any{"environment": 1}, ""},
		"unmarshalable": {make(chan int), ""},
		"broken":        {json.RawMessage(`{`), ""},
	} {
		if got := environmentOf(tt.data); got != tt.want {
			t.Errorf("%s: %q; want %q", name, got, tt.want)
		}
	}
}
