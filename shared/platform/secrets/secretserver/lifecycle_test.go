package secretserver_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/isectech/service-networking/shared/platform/secrets"
)

// modelVersion is what a version should be.
type modelVersion struct {
	state   secrets.State
	payload string
}

// TestLifecycle drives a server through random changes of a secret's versions and compares every answer
// with a model. What it does with files is the other tests' business, which do not wait for the disk as often.
func TestLifecycle(t *testing.T) {
	t.Parallel()
	c := client(t, "")
	ctx := t.Context()
	var made int
	rapid.Check(t, func(rt *rapid.T) {
		made++
		name := fmt.Sprintf("key-%d", made)
		var model []modelVersion
		number := func() int64 { return rapid.Int64Range(1, int64(len(model))+1).Draw(rt, "version") }
		if err := c.Create(ctx, name, nil); err != nil {
			rt.Fatal(err)
		}
		set := func(to secrets.State, do func(n int64, etag string) error) {
			n, etag, stale := number(), "", rapid.Bool().Draw(rt, "stale")
			if stale {
				etag = `"stale"`
			}
			want := error(nil)
			switch {
			case n > int64(len(model)):
				want = secrets.ErrNotFound
			case stale:
				want = secrets.ErrConflict
			case model[n-1].state == secrets.Destroyed:
				want = secrets.ErrDestroyed
			default:
				model[n-1].state = to
			}
			if err := do(n, etag); !errors.Is(err, want) {
				rt.Fatalf("%s version %d: %v, want %v", to, n, err, want)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"add": func(rt *rapid.T) {
				payload := rapid.StringN(1, 20, 80).Draw(rt, "payload")
				n, err := c.AddVersion(ctx, name, []byte(payload))
				if err != nil || n != int64(len(model))+1 {
					rt.Fatalf("add: %d, %v; want %d", n, err, len(model)+1)
				}
				model = append(model, modelVersion{secrets.Enabled, payload})
			},
			"enable": func(*rapid.T) {
				set(secrets.Enabled, func(n int64, etag string) error { return c.Enable(ctx, name, n, etag) })
			},
			"disable": func(*rapid.T) {
				set(secrets.Disabled, func(n int64, etag string) error { return c.Disable(ctx, name, n, etag) })
			},
			"destroy": func(*rapid.T) {
				set(secrets.Destroyed, func(n int64, etag string) error { return c.Destroy(ctx, name, n, etag) })
			},
			"access": func(rt *rapid.T) {
				n := number()
				value, err := c.Access(ctx, name, n)
				switch {
				case n > int64(len(model)):
					if !errors.Is(err, secrets.ErrNotFound) {
						rt.Fatalf("access %d of %d: %v", n, len(model), err)
					}
				case model[n-1].state == secrets.Enabled:
					if err != nil || string(value.Reveal()) != model[n-1].payload {
						rt.Fatalf("access %d: %q, %v; want %q", n, value.Reveal(), err, model[n-1].payload)
					}
				default:
					want := map[secrets.State]error{secrets.Disabled: secrets.ErrDisabled, secrets.Destroyed: secrets.ErrDestroyed}
					if !errors.Is(err, want[model[n-1].state]) || value.Len() > 0 {
						rt.Fatalf("access %d in state %s: %v", n, model[n-1].state, err)
					}
				}
			},
			"list": func(rt *rapid.T) {
				versions, err := c.Versions(ctx, name)
				if err != nil {
					rt.Fatal(err)
				}
				var got, want []string
				for i := range versions {
					v := versions[len(versions)-1-i]
					got = append(got, fmt.Sprint(v.Number, v.State))
				}
				for i, v := range model {
					want = append(want, fmt.Sprint(i+1, v.state))
				}
				if diff := cmp.Diff(want, got); diff != "" {
					rt.Fatalf("versions (-want +got):\n%s", diff)
				}
			},
		})
	})
}
