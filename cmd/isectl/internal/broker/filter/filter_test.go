package filter_test

import (
	"strings"
	"testing"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker/filter"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	type attributes = map[string]string
	for text, tt := range map[string]struct{ yes, no []attributes }{
		"":                        {yes: []attributes{nil, {"a": "1"}}},
		" \n":                     {yes: []attributes{nil}},
		`attributes:a`:            {yes: []attributes{{"a": ""}}, no: []attributes{nil, {"A": "1"}, {"b": "a"}}},
		`attributes : a`:          {yes: []attributes{{"a": ""}}, no: []attributes{nil}},
		`attributes:ce-type`:      {yes: []attributes{{"ce-type": "x"}}, no: []attributes{{"ce": "x"}}},
		`attributes:-a`:           {yes: []attributes{{"-a": ""}}, no: []attributes{{"a": ""}}},
		`attributes:AND`:          {yes: []attributes{{"AND": ""}}, no: []attributes{nil}},
		`attributes:"iana.org/l"`: {yes: []attributes{{"iana.org/l": ""}}, no: []attributes{{"iana": ""}}},
		`attributes.a = "1"`:      {yes: []attributes{{"a": "1"}}, no: []attributes{nil, {"a": "2"}, {"a": "1 "}, {"b": "1"}}},
		`attributes.a="1"`:        {yes: []attributes{{"a": "1"}}, no: []attributes{{"a": "2"}}},
		`attributes."a b"="\u00e9\x41\101\"\\"`: {
			yes: []attributes{{"a b": `éAA"\`}}, no: []attributes{{"a b": ""}}},
		`attributes.a != "1"`:           {yes: []attributes{nil, {"a": "2"}, {"b": "1"}}, no: []attributes{{"a": "1"}}},
		`hasPrefix(attributes.a, "co")`: {yes: []attributes{{"a": "com"}, {"a": "co"}}, no: []attributes{nil, {"a": "c"}, {"a": "xco"}}},
		`hasPrefix(attributes.a,"")`:    {yes: []attributes{{"a": ""}}, no: []attributes{nil}},
		`NOT attributes:a`:              {yes: []attributes{nil}, no: []attributes{{"a": ""}}},
		`-attributes:a`:                 {yes: []attributes{nil}, no: []attributes{{"a": ""}}},
		`NOT NOT attributes:a`:          {yes: []attributes{{"a": ""}}, no: []attributes{nil}},
		`NOT attributes:a AND attributes:b`: {
			yes: []attributes{{"b": ""}}, no: []attributes{nil, {"a": ""}, {"a": "", "b": ""}}},
		`attributes:a AND attributes:b AND attributes:c`: {
			yes: []attributes{{"a": "", "b": "", "c": ""}}, no: []attributes{{"a": "", "b": ""}, {"b": "", "c": ""}}},
		`attributes:a OR attributes.b="1" OR attributes:c`: {
			yes: []attributes{{"a": ""}, {"b": "1"}, {"c": ""}}, no: []attributes{nil, {"b": "2"}}},
		`attributes:a AND (attributes:b OR attributes:c)`: {
			yes: []attributes{{"a": "", "b": ""}, {"a": "", "c": ""}}, no: []attributes{{"a": ""}, {"b": "", "c": ""}}},
		`NOT (attributes:a OR attributes:b)`: {yes: []attributes{nil}, no: []attributes{{"a": ""}, {"b": ""}}},
		`((attributes:a))`:                   {yes: []attributes{{"a": ""}}, no: []attributes{nil}},
		`attributes.ce-type = "com.isectech.registry.service.created.v1" OR attributes.ce-type = "x"`: {
			yes: []attributes{{"ce-type": "com.isectech.registry.service.created.v1"}, {"ce-type": "x"}},
			no:  []attributes{{"ce-type": "com.isectech.registry.service.updated.v1"}}},
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			f, err := filter.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range tt.yes {
				if !f.Match(a) {
					t.Errorf("does not choose %v", a)
				}
			}
			for _, a := range tt.no {
				if f.Match(a) {
					t.Errorf("chooses %v", a)
				}
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for text, why := range map[string]string{
		`attributes`:                    "ends where",
		`attributes:`:                   "a key",
		`attributes.a`:                  `"=" or "!="`,
		`attributes.a = `:               "a string",
		`attributes.a = b`:              "a string",
		`attributes.a = $`:              `"$" at byte 15`,
		`attributes.a = "b`:             "does not end",
		`attributes.a = 'b'`:            `"'"`,
		`attributes.a = ` + "`b`":       "at byte 15",
		`attributes.a < "b"`:            `"<"`,
		`attributes.a == "b"`:           "a string",
		`attributes.é = "b"`:            `"é" at byte 11`,
		`attribute:a`:                   "a condition",
		`data:a`:                        "a condition",
		`(attributes:a`:                 `")"`,
		`attributes:a)`:                 "the end",
		`attributes:a attributes:b`:     "AND, OR or the end",
		`attributes:a and attributes:b`: "AND, OR or the end",
		`attributes:a AND`:              "a condition",
		`AND attributes:a`:              "a condition",
		`NOT`:                           "a condition",
		`hasPrefix(attributes.a)`:       `","`,
		`hasPrefix(attributes:a, "b")`:  `"(attributes."`,
		`hasPrefix(attributes.a, "b"`:   `")"`,
		`hassuffix(attributes.a, "b")`:  "a condition",
		`attributes:a AND attributes:b OR attributes:c`: "do not mix",
		"attributes:\"\xff\"":                           "UTF-8",
		strings.Repeat("(", 200):                        "ends where",
		strings.Repeat(" ", 257):                        "257 bytes",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			_, err := filter.Parse(text)
			if err == nil || !strings.Contains(err.Error(), why) {
				t.Errorf("got %v; want an error with %s", err, why)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		``, `attributes:a`, `attributes.a != "1"`, `NOT (attributes:a OR -attributes."b c"="\n")`,
		`hasPrefix(attributes.a, "b") AND attributes:c`, `((((`, `"`, `attributes.a="\`, `- -`,
	} {
		f.Add(seed, "a", "1")
	}
	f.Fuzz(func(t *testing.T, text, key, value string) {
		parsed, err := filter.Parse(text)
		if err != nil || strings.TrimSpace(text) == "" {
			return
		}
		not, err := filter.Parse("NOT (" + text + ")")
		if err != nil {
			if len(text) > 250 {
				return // too long with what was added
			}
			t.Fatalf("cannot be negated: %v", err)
		}
		for _, attributes := range []map[string]string{nil, {key: value}} {
			if parsed.Match(attributes) == not.Match(attributes) {
				t.Errorf("%q and its negation agree on %v", text, attributes)
			}
		}
	})
}
