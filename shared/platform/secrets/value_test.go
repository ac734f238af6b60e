package secrets_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/platform/secrets"
)

func TestValueIsMaskedEverywhere(t *testing.T) {
	t.Parallel()
	const payload = "hunter2-hunter2"
	value := secrets.NewValue([]byte(payload))
	nested := struct {
		Key   secrets.Value
		Slice []secrets.Value
		Map   map[string]secrets.Value
	}{value, []secrets.Value{value}, map[string]secrets.Value{"k": value}}

	var shown []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%T%v"} {
		shown = append(shown, fmt.Sprintf(verb, value), fmt.Sprintf(verb, nested), fmt.Sprintf(verb, &value))
	}
	encoded, err := json.Marshal(nested)
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("made", "key", value, "nested", nested)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("made", "key", value, "pointer", &value)
	shown = append(shown, string(encoded), logged.String(), fmt.Errorf("with %v", value).Error())

	hex := fmt.Sprintf("%x", payload)
	decimal := strings.Trim(fmt.Sprint([]byte(payload)), "[]")
	for _, s := range shown {
		for _, leak := range []string{payload, hex, strings.ToUpper(hex), decimal, "0x68, 0x75"} {
			if strings.Contains(s, leak) {
				t.Errorf("the payload shows in %q", s)
			}
		}
	}
}

func TestValueIsACopy(t *testing.T) {
	t.Parallel()
	payload := []byte("abc")
	value := secrets.NewValue(payload)
	payload[0] = 'X'
	value.Reveal()[1] = 'X'
	if got := string(value.Reveal()); got != "abc" || value.Len() != 3 {
		t.Errorf("Reveal() = %q, Len() = %d, want abc, 3", got, value.Len())
	}
}
