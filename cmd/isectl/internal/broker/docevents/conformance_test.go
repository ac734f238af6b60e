package docevents_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/googleapis/google-cloudevents-go/cloud/firestoredata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/firestorestore"
	"github.com/isectech/service-networking/shared/store/firestorestore/emulatortest"
)

// TestEventsAreFirestores makes the same commits in Firestore's emulator, with events of its own, and in
// the embedded store, and compares what handlers get.
func TestEventsAreFirestores(t *testing.T) {
	t.Parallel()
	theirs := make(chan delivery, 16)
	shim := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		encoded, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		d := delivery{header: r.Header, data: new(firestoredata.DocumentEventData)}
		if d.body, err = base64.StdEncoding.DecodeString(string(encoded)); err != nil {
			t.Errorf("body: %v", err)
		}
		if err := proto.Unmarshal(d.body, d.data); err != nil {
			t.Error(err)
		}
		theirs <- d
	}))
	t.Cleanup(shim.Close)
	firestore := emulatortest.Start(t, "--functions_emulator="+strings.TrimPrefix(shim.URL, "http://"))
	trigger := `{"eventType":"google.cloud.firestore.document.v1.written","database":"(default)","namespace":"(default)",` +
		`"document":{"value":"services/{id}","matchType":"PATH_PATTERN"}}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		"http://"+firestore.Addr()+"/emulator/v1/projects/"+project+"/eventarcTrigger?eventarcTriggerId=changes", bytes.NewReader([]byte(trigger)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("trigger: %s", resp.Status)
	}
	original, err := firestorestore.New(firestore.Client(t, project), firestorestore.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}

	ours := make(chan delivery, 16)
	b := newBench(t, func(d delivery) int { ours <- d; return http.StatusOK })
	b.run(toServices)
	defer b.end()
	ref := store.Ref{Collection: store.Services, ID: "a.b:c@d-e_f"}
	for i, w := range []store.Write{
		{Ref: ref, Data: map[string]any{"n": 1, "f": 1.5, "big": 1e300, "text": "é", "none": nil, "yes": true, "list": []any{}, "map": map[string]any{}}},
		{Ref: ref, Data: map[string]any{"n": 2, "list": []any{1, 2.5, "x", nil, map[string]any{"a b": 1}}, "map": map[string]any{"a": map[string]any{"b": "c"}}},
			ExpiresAt: time.Date(2126, 1, 4, 12, 0, 0, 123456000, time.UTC)},
		{Ref: ref},
		{Ref: ref, Data: map[string]any{"again": true}},
	} {
		batch := store.Batch{Actor: "me", Cause: fmt.Sprint(i), Writes: []store.Write{w}}
		if _, err := original.Commit(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		if _, err := b.db.Commit(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		want, got := next(t, theirs), next(t, ours)
		for name := range want.header {
			switch {
			case name == "Ce-Id", name == "Ce-Time", name == "Ce-Datacontenttype", !strings.HasPrefix(name, "Ce-"):
			case name == "Ce-Source": // the emulator doubles a part of it
				wantEqual(t, name, strings.Replace(want.header.Get(name), "projects/projects/", "projects/", 1), got.header.Get(name))
			default:
				wantEqual(t, name, want.header.Get(name), got.header.Get(name))
			}
		}
		for _, side := range []func(*firestoredata.DocumentEventData) *firestoredata.Document{
			(*firestoredata.DocumentEventData).GetValue, (*firestoredata.DocumentEventData).GetOldValue,
		} {
			level(t, side(want.data), side(got.data))
		}
		want.data.UpdateMask, got.data.UpdateMask = nil, nil // the emulator's is always empty
		if diff := cmp.Diff(want.data, got.data, protocmp.Transform()); diff != "" {
			t.Errorf("write %d (-Firestore's +ours):\n%s", i, diff)
		}
	}
}

func next(t *testing.T, from <-chan delivery) delivery {
	t.Helper()
	select {
	case d := <-from:
		return d
	case <-time.After(30 * time.Second):
		t.Fatal("no event")
		return delivery{}
	}
}

// level makes the same what each side takes from a clock or from dice of its own, once it is of one kind.
func level(t *testing.T, want, got *firestoredata.Document) {
	t.Helper()
	if want == nil || got == nil {
		return
	}
	sameTime := func(what string, w, g *timestamppb.Timestamp, grain time.Duration) {
		if !w.IsValid() || !g.IsValid() || w.AsTime().Sub(g.AsTime()).Abs() > 20*time.Second || !g.AsTime().Equal(g.AsTime().Truncate(grain)) {
			t.Errorf("%s is %v; Firestore has %v", what, g, w)
		}
	}
	sameTime("create time", want.GetCreateTime(), got.GetCreateTime(), time.Microsecond)
	sameTime("update time", want.GetUpdateTime(), got.GetUpdateTime(), time.Microsecond)
	got.CreateTime, got.UpdateTime = want.GetCreateTime(), want.GetUpdateTime()
	fields := map[string]time.Duration{"updated_at": time.Millisecond}
	if want.GetFields()["deleted"].GetBooleanValue() {
		fields["expires_at"] = time.Microsecond
	}
	for name, grain := range fields {
		sameTime(name, want.GetFields()[name].GetTimestampValue(), got.GetFields()[name].GetTimestampValue(), grain)
		got.Fields[name] = want.GetFields()[name]
	}
	if len(got.GetFields()["head"].GetStringValue()) != len(want.GetFields()["head"].GetStringValue()) {
		t.Errorf("head is %v", got.GetFields()["head"])
	}
	got.Fields["head"] = want.GetFields()["head"]
}
