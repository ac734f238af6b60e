package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
)

// TestParseFindings lists, for documents with one thing wrong, the findings as severity, path and code.
// Every document has an operator, so that the lack of one is not among them; %s stands for two services.
func TestParseFindings(t *testing.T) {
	t.Parallel()
	const (
		a    = `"isectech-a":{"environments":["production"],"scopes":["api:read"]}`
		b    = `"isectech-b":{"environments":["production"],"scopes":["api:read"]}`
		ab   = `"services":{` + a + `,` + b + `},`
		edge = `{"caller":"isectech-a","target":"isectech-b"}`
		op   = `"operators":{"ops@isectech.com":{"scopes":["admin:write"]}}`
	)
	tests := []struct {
		name string
		doc  string
		want []string
	}{
		{"nothing", `{` + ab + `"edges":[` + edge + `],` + op + `}`, nil},
		{"empty", `{}`, []string{"warning operators no_administrator", "warning services no_service"}},

		// The form.
		{"no document", ``, []string{"error  malformed_json"}},
		{"cut off", `{"services":{`, []string{"error  malformed_json"}},
		{"two documents", `{} {}`, []string{"error  malformed_json"}},
		{"comment", `{} // why`, []string{"error  malformed_json"}},
		{"invalid UTF-8", "{\"services\":{\"\xff\":{}}}", []string{"error  malformed_json"}},
		{"array", `[]`, []string{"error  wrong_type", "warning operators no_administrator", "warning services no_service"}},
		{"too large", `{"services":{}` + strings.Repeat(" ", policy.MaxDocumentBytes) + `}`, []string{"error  too_large"}},
		{"unknown field", `{` + ab + `"edges":[` + edge + `],` + op + `,"rules":[{"deep":[1]}]}`, []string{"error rules unknown_field"}},
		{"wrong case", `{` + ab + `"Edges":[],"edges":[` + edge + `],` + op + `}`, []string{"error Edges unknown_field"}},
		{"duplicate member", `{"services":{` + a + `,` + a + `,` + b + `},"edges":[` + edge + `],` + op + `}`, []string{"error services.isectech-a duplicate_member"}},
		{"duplicate field", `{` + ab + `"edges":[{"caller":"isectech-a","caller":"isectech-b","target":"isectech-b"}],` + op + `}`, []string{"error edges[0].caller duplicate_member"}},
		{"escaped duplicate", `{` + ab + `"edges":[` + edge + `],"edg\u0065s":[],` + op + `}`, []string{"error edges duplicate_member"}},
		{"null", `{` + ab + `"edges":null,` + op + `}`, []string{"error edges wrong_type", "warning services.isectech-a isolated_service", "warning services.isectech-b isolated_service"}},
		{"number", `{` + ab + `"edges":[` + edge + `,7],` + op + `}`, []string{"error edges[1] wrong_type", "error edges[1].caller missing", "error edges[1].target one_target_field"}},
		{"one error a field", `{` + ab + `"edges":[` + edge + `,{"caller":7,"target":"isectech-b","methods":"GET"}],` + op + `}`,
			[]string{"error edges[1].caller wrong_type", "error edges[1].methods wrong_type"}},
		{"hostile name", `{` + ab + `"edges":[` + edge + `],` + op + `,"a b":1}`, []string{`error ["a b"] unknown_field`}},

		// Services.
		{"service name", `{"services":{"Isectech":{"environments":["production"]},` + a + `,` + b + `},"edges":[` + edge + `],` + op + `}`,
			[]string{"error services.Isectech name_form", "warning services.Isectech isolated_service"}},
		{"bare prefix", `{"services":{"isectech-":{"environments":["production"],"scopes":["metrics:read"]},` + a + `,` + b + `},"edges":[` + edge + `],` + op + `}`,
			[]string{"error services.isectech- name_form"}},
		{"the platform's name", `{"services":{"isectech-services":{"environments":["production"],"scopes":["metrics:read"]},` + a + `,` + b + `},"edges":[` + edge + `],` + op + `}`,
			[]string{"error services.isectech-services reserved_name"}},
		{"the platform's short name", `{"services":{"services":{"environments":["production"],"scopes":["metrics:read"]},` + a + `,` + b + `},"edges":[` + edge + `],` + op + `}`,
			[]string{"error services.services reserved_name"}},
		{"the platform's name as an alias", `{"services":{"isectech-isectech-services":{"environments":["production"],"scopes":["metrics:read"]},` + a + `,` + b + `},"edges":[` + edge + `],` + op + `}`,
			[]string{"error services.isectech-isectech-services reserved_name"}},
		{"operator as service", `{"services":{"operator:x@y.de":{"environments":["production"],"scopes":["metrics:read"]},` + a + `,` + b + `},"edges":[` + edge + `],` + op + `}`,
			[]string{`error services["operator:x@y.de"] operator_as_service`}},
		{"implicit alias", `{"services":{"a":{"environments":["production"],"scopes":["metrics:read"]},` + a + `,` + b + `},"edges":[` + edge + `],` + op + `}`,
			[]string{"error services.isectech-a implicit_alias_clash"}},
		{"ids in company", `{"services":{"isectech-a-b":{"environments":["production"],"scopes":["metrics:read"]},` + a + `,` + b + `},"edges":[` + edge + `],` + op + `}`,
			[]string{"warning services.isectech-a-b alias_prefix"}},
		{"no environment", `{"services":{"isectech-c":{"scopes":["metrics:read"]},` + a + `,` + b + `},"edges":[` + edge + `],` + op + `}`,
			[]string{"error services.isectech-c.environments no_environment"}},
		{"aliases", `{"services":{"isectech-c":{"aliases":["a","b","c","C","x","x","services","isectech-b"],"environments":["production"],"scopes":["metrics:read"]},` + a + `,` + b + `},"edges":[` + edge + `],` + op + `}`,
			[]string{"error services.isectech-c.aliases[0] alias_clash", "error services.isectech-c.aliases[1] alias_clash",
				"warning services.isectech-c.aliases[2] needless_alias", "error services.isectech-c.aliases[3] alias_form",
				"error services.isectech-c.aliases[5] repeated", "error services.isectech-c.aliases[6] reserved_name",
				"error services.isectech-c.aliases[7] alias_clash"}},
		{"scopes and environments", `{"services":{"isectech-c":{"environments":["prod","production","production"],"scopes":["metrics:read","admin:read","API:read","metrics:read"]},` + a + `,` + b + `},"edges":[` + edge + `],` + op + `}`,
			[]string{"warning services.isectech-c isolated_service", // since it holds more than the platform asks for
				"error services.isectech-c.environments[0] unknown_environment", "error services.isectech-c.environments[2] repeated",
				"error services.isectech-c.scopes[1] admin_scope", "error services.isectech-c.scopes[2] unknown_scope", "error services.isectech-c.scopes[3] repeated"}},
		{"admin scopes", `{"services":{"isectech-c":{"environments":["production"],"scopes":["admin:write","admin:read"]},` + a + `,` + b + `},"edges":[` + edge + `,{"caller":"isectech-c","target":"isectech-a"}],` + op + `}`,
			[]string{"error services.isectech-c.scopes[0] admin_scope", "error services.isectech-c.scopes[1] admin_scope"}},
		{"description", `{"services":{"isectech-c":{"environments":["production"],"scopes":["metrics:read"],"description":"two\nlines"},` + a + `,` + b + `},"edges":[` + edge + `],` + op + `}`,
			[]string{"error services.isectech-c.description description_form"}},
		{"isolated", `{` + ab + op + `}`, []string{"warning services.isectech-a isolated_service", "warning services.isectech-b isolated_service"}},

		// Operators and service accounts.
		{"operators", `{` + ab + `"edges":[` + edge + `],"operators":{"Ops@isectech.com":{"scopes":["admin:write","api:read","root"]},"x@isectech.com":{}}}`,
			[]string{"error operators.Ops@isectech.com mail_form", "warning operators.Ops@isectech.com.scopes[1] useless_scope",
				"error operators.Ops@isectech.com.scopes[2] unknown_scope", "warning operators.x@isectech.com.scopes no_scope"}},
		{"service accounts", `{` + ab + `"edges":[` + edge + `],` + op + `,"service_accounts":{"ops@isectech.com":{"service":"a","environment":"live"},"x@p.iam.gserviceaccount.com":{"service":"isectech-a","environment":"staging"}}}`,
			[]string{"error service_accounts.ops@isectech.com ambiguous_account", "warning service_accounts.ops@isectech.com not_a_service_account",
				"error service_accounts.ops@isectech.com.environment unknown_environment", "error service_accounts.ops@isectech.com.service unknown_service",
				"error service_accounts.x@p.iam.gserviceaccount.com.environment foreign_environment"}},

		// Edges.
		{"references", `{` + ab + `"edges":[` + edge + `,{"caller":"a","target":"isectech-services"},{"caller":"operator:x@y.de","targets":["isectech-b","isectech-b","gone"]}],` + op + `}`,
			[]string{"error edges[1].caller unknown_service", "error edges[1].target platform_as_service", "error edges[2].caller operator_as_service",
				"error edges[2].targets[1] repeated", "error edges[2].targets[2] unknown_service"}},
		{"both target fields", `{` + ab + `"edges":[{"caller":"isectech-a","target":"isectech-b","targets":["isectech-b"]}],` + op + `}`,
			[]string{"error edges[0].target one_target_field", "warning services.isectech-a isolated_service", "warning services.isectech-b isolated_service"}},
		{"narrowing", `{` + ab + `"edges":[` + edge + `,{"caller":"isectech-b","target":"isectech-a","effect":"block","environments":["x"],"methods":["get","GET","","G T"],"scopes":["x"],"path_prefixes":["","api","/api/","/a//b","/a/../b","/a/./b","/%61","/a*","/a;b","/a\\b","/ok","/ok","/ü"]}],` + op + `}`,
			[]string{"error edges[1].effect unknown_effect", "error edges[1].environments[0] unknown_environment",
				"error edges[1].methods[0] method_form", "error edges[1].methods[2] method_form", "error edges[1].methods[3] method_form",
				"error edges[1].path_prefixes[0] path_prefix_form", "error edges[1].path_prefixes[1] path_prefix_form",
				"error edges[1].path_prefixes[2] path_prefix_form", "error edges[1].path_prefixes[3] path_prefix_form",
				"error edges[1].path_prefixes[4] path_prefix_form", "error edges[1].path_prefixes[5] path_prefix_form",
				"error edges[1].path_prefixes[6] path_prefix_form", "error edges[1].path_prefixes[7] path_prefix_form",
				"error edges[1].path_prefixes[8] path_prefix_form", "error edges[1].path_prefixes[9] path_prefix_form",
				"error edges[1].path_prefixes[11] repeated", "error edges[1].path_prefixes[12] path_prefix_form",
				"error edges[1].scopes[0] unknown_scope"}},
		{"scope never granted", `{` + ab + `"edges":[{"caller":"isectech-a","target":"isectech-b","scopes":["api:read","api:write"]}],` + op + `}`,
			[]string{"warning edges[0].scopes[1] scope_not_granted"}},
		{"scope never carried", `{"services":{"isectech-a":{"environments":["production"],"scopes":["api:read","service:discover","api:write"]},` + b + `},"edges":[{"caller":"isectech-a","target":"isectech-b","scopes":["api:read"]},{"caller":"isectech-a","target":"isectech-a","effect":"deny","scopes":["api:write"]}],` + op + `}`,
			[]string{"warning services.isectech-a.scopes[2] idle_scope"}},
		{"environment not shared", `{` + ab + `"edges":[{"caller":"isectech-a","target":"isectech-b","environments":["production","staging"]}],` + op + `}`,
			[]string{"warning edges[0].environments[1] foreign_environment"}},
		{"no environment shared", `{"services":{` + a + `,"isectech-b":{"environments":["staging"],"scopes":["metrics:read"]}},"edges":[` + edge + `],` + op + `}`,
			[]string{"warning edges[0] no_shared_environment", "warning services.isectech-a isolated_service"}},
		{"no effect, so not redundant", `{"services":{` + a + `,"isectech-b":{"environments":["staging"],"scopes":["metrics:read"]}},"edges":[` + edge + `,{"caller":"isectech-a","target":"isectech-b","methods":["GET"]}],` + op + `}`,
			[]string{"warning edges[0] no_shared_environment", "warning edges[1] no_shared_environment", "warning services.isectech-a isolated_service"}},
		{"scopes withheld, way open", `{` + ab + `"edges":[{"caller":"isectech-a","target":"isectech-b","scopes":["api:read"]},{"caller":"isectech-a","target":"isectech-b","effect":"deny","scopes":["api:read"]}],` + op + `}`, nil},
		{"rates", `{"services":{"isectech-a":{"environments":["production"],"scopes":["api:read"],"rate_limit":{"requests":0,"per":"1m"}},` + b + `},"edges":[{"caller":"isectech-a","target":"isectech-b","rate_limit":{}},{"caller":"isectech-b","target":"isectech-a","rate_limit":{"requests":1.5,"per":"1 minute"}},{"caller":"isectech-a","target":"isectech-a","rate_limit":{"requests":1000000001,"per":86400000000001}},{"caller":"isectech-b","target":"isectech-b","effect":"deny","rate_limit":{"requests":1,"per":"1s"}},{"caller":"isectech-b","target":"isectech-b","rate_limit":{"requests":"1","per":1e9,"burst":1}}],"operators":{"ops@isectech.com":{"scopes":["admin:write"],"rate_limit":{"requests":-1,"per":"-1m"}}}}`,
			[]string{"error edges[0].rate_limit.per rate_bounds", "error edges[0].rate_limit.requests rate_bounds",
				"error edges[1].rate_limit.per duration_form", "error edges[1].rate_limit.requests number_form",
				"error edges[2].rate_limit.per rate_bounds", "error edges[2].rate_limit.requests rate_bounds",
				"error edges[3].rate_limit rate_of_deny", "error edges[4].rate_limit.burst unknown_field",
				"error edges[4].rate_limit.per number_form", "error edges[4].rate_limit.requests wrong_type",
				"error operators.ops@isectech.com.rate_limit.per rate_bounds", "error operators.ops@isectech.com.rate_limit.requests rate_bounds",
				"warning services.isectech-a isolated_service", // since none of its edges can be compared
				"error services.isectech-a.rate_limit.requests rate_bounds", "warning services.isectech-b isolated_service"}},
		{"a slower edge beside a wider one", `{` + ab + `"edges":[` + edge + `,{"caller":"isectech-a","target":"isectech-b","methods":["POST"],"rate_limit":{"requests":10,"per":60000000000}}],` + op + `}`, nil},
		{"a faster edge beside a wider one", `{` + ab + `"edges":[{"caller":"isectech-a","target":"isectech-b","rate_limit":{"requests":10,"per":"1m"}},{"caller":"isectech-a","target":"isectech-b","methods":["POST"],"rate_limit":{"requests":10,"per":"1s"}}],` + op + `}`,
			[]string{"warning edges[1] redundant_edge"}},
		{"duplicate but for the rate", `{` + ab + `"edges":[` + edge + `,{"caller":"isectech-a","target":"isectech-b","rate_limit":{"requests":10,"per":"1m"}}],` + op + `}`,
			[]string{"warning edges[0] redundant_edge"}},
		{"duplicate edge", `{` + ab + `"edges":[` + edge + `,{"caller":"isectech-a","targets":["isectech-b"],"effect":"allow"}],` + op + `}`,
			[]string{"error edges[1].targets[0] duplicate_edge"}},
		{"duplicate in other words", `{` + ab + `"edges":[{"caller":"isectech-a","target":"isectech-b","path_prefixes":["/a"]},{"caller":"isectech-a","target":"isectech-b","path_prefixes":["/a/b","/a"]}],` + op + `}`,
			[]string{"error edges[1] duplicate_edge"}},
		{"redundant edge", `{` + ab + `"edges":[{"caller":"isectech-a","target":"isectech-b","methods":["GET"],"path_prefixes":["/api"]},` + edge + `],` + op + `}`,
			[]string{"warning edges[0] redundant_edge"}},
		{"narrowed to nothing", `{` + ab + `"edges":[{"caller":"isectech-a","target":"isectech-b","methods":[],"path_prefixes":[],"environments":[],"scopes":[]}],` + op + `}`,
			[]string{"warning edges[0].environments empty_list", "warning edges[0].methods empty_list",
				"warning edges[0].path_prefixes empty_list", "warning edges[0].scopes empty_list"}},
		{"shadowed edge", `{` + ab + `"edges":[{"caller":"isectech-a","target":"isectech-b","path_prefixes":["/api/v1"]},{"caller":"isectech-a","target":"isectech-b","effect":"deny","path_prefixes":["/api"]}],` + op + `}`,
			[]string{"warning edges[0] shadowed_edge"}},
		{"edge beside a deny", `{` + ab + `"edges":[{"caller":"isectech-a","target":"isectech-b","path_prefixes":["/api"]},{"caller":"isectech-a","target":"isectech-b","effect":"deny","path_prefixes":["/api/v1"]},{"caller":"isectech-a","target":"isectech-b","effect":"deny","scopes":["api:read"]}],` + op + `}`,
			nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			doc, found, err := policy.Parse([]byte(tt.doc))
			var got []string
			broken := false
			for _, f := range found {
				got = append(got, fmt.Sprintf("%s %s %s", f.Severity, f.Path, f.Code))
				broken = broken || f.Severity == policy.Error
				if f.Message == "" || f.Message[len(f.Message)-1] != '.' {
					t.Errorf("not a sentence: %s", f)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s\n%v", diff, found)
			}
			if broken != (err != nil) || broken != errors.Is(err, policy.ErrInvalid) || broken != (doc == nil) {
				t.Errorf("error %v, document %v", err, doc)
			}
			if doc != nil {
				compile(t, doc)
			}
		})
	}
}

// TestBounds holds documents just within their bounds, and past them.
func TestBounds(t *testing.T) {
	t.Parallel()
	entry := policy.ServiceEntry{Environments: []string{"production"}, Scopes: []string{"metrics:read"}}
	services := func(n int) map[string]policy.ServiceEntry {
		all := make(map[string]policy.ServiceEntry, n)
		for i := range n {
			all[fmt.Sprintf("s%05d", i)] = entry
		}
		return all
	}
	spread := func(callers, targets int) []policy.Edge {
		var list []string
		for i := range targets {
			list = append(list, fmt.Sprintf("s%05d", i))
		}
		var edges []policy.Edge
		for i := range callers {
			edges = append(edges, policy.Edge{Caller: fmt.Sprintf("s%05d", i), Targets: list})
		}
		return edges
	}
	parallel := func(n int) []policy.Edge {
		var edges []policy.Edge
		for i := range n {
			edges = append(edges, policy.Edge{Caller: "s00000", Target: "s00001", PathPrefixes: []string{fmt.Sprintf("/p%d", i)}})
		}
		return edges
	}
	list := func(n int, format string) []string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(format, i))
		}
		return all
	}
	one := func(e policy.Edge) policy.Document {
		e.Caller, e.Target = "s00000", "s00001"
		return policy.Document{Services: services(2), Edges: []policy.Edge{e}}
	}
	aliased := func(n int) policy.Document {
		d := policy.Document{Services: services(1)}
		d.Services["s00001"] = policy.ServiceEntry{Environments: entry.Environments, Aliases: list(n, "x%d")}
		return d
	}
	tests := []struct {
		name         string
		within, past policy.Document
		path         string
	}{
		{"services", policy.Document{Services: services(policy.MaxServices)}, policy.Document{Services: services(policy.MaxServices + 1)}, "services"},
		{"edges", policy.Document{Services: services(2000), Edges: spread(100, 2000)}, policy.Document{Services: services(2001), Edges: spread(100, 2001)}, "edges"},
		{"parallel edges", policy.Document{Services: services(2), Edges: parallel(32)}, policy.Document{Services: services(2), Edges: parallel(33)}, "edges[32]"},
		{"methods", one(policy.Edge{Methods: list(16, "M%d")}), one(policy.Edge{Methods: list(17, "M%d")}), "edges[0].methods"},
		{"prefixes", one(policy.Edge{PathPrefixes: list(16, "/%d")}), one(policy.Edge{PathPrefixes: list(17, "/%d")}), "edges[0].path_prefixes"},
		{"prefix", one(policy.Edge{PathPrefixes: []string{"/" + strings.Repeat("x", 255)}}), one(policy.Edge{PathPrefixes: []string{"/" + strings.Repeat("x", 256)}}), "edges[0].path_prefixes[0]"},
		{"aliases", aliased(16), aliased(17), "services.s00001.aliases"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			compile(t, &tt.within)
			if _, err := policy.Compile(&tt.past, 1); !errors.Is(err, policy.ErrInvalid) {
				t.Errorf("past the bound: %v", err)
			}
			if !slices.ContainsFunc(tt.past.Check(), func(f policy.Finding) bool {
				return f.Severity == policy.Error && f.Path == tt.path
			}) {
				t.Errorf("no error at %s", tt.path)
			}
		})
	}
}

// TestFindingsAreBounded: a hostile document cannot make the answer larger than itself.
func TestFindingsAreBounded(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(`{"edges":[`)
	for b.Len() < policy.MaxDocumentBytes-64 {
		b.WriteString(`{"":7},`)
	}
	b.WriteString(`{}]}`)
	_, found, err := policy.Parse([]byte(b.String()))
	if err == nil || len(found) > 500 || len(err.Error()) > 2000 {
		t.Fatalf("%d findings, error of %d bytes", len(found), len(err.Error()))
	}
	if !slices.ContainsFunc(found, func(f policy.Finding) bool { return f.Code == "more_findings" && f.Severity == policy.Error }) {
		t.Error("nothing says that there is more")
	}
}

func TestUnmarshalIsStrict(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{`{"Services":{}}`, `{"services":{},"services":{}}`, `{"edges":null}`, `{"edges":[{"note":""}]}`} {
		var d policy.Document
		if err := json.Unmarshal([]byte(doc), &d); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

func TestMarshalIsCanonical(t *testing.T) {
	t.Parallel()
	got, err := json.Marshal(policy.Document{
		Services: map[string]policy.ServiceEntry{
			"b": {Environments: []string{"staging", "production"}, Scopes: []string{"metrics:read", "api:read", "api:read"}},
			"a": {Environments: []string{"production"}},
		},
		Edges: []policy.Edge{
			{Caller: "b", Targets: []string{"b", "a"}, Effect: policy.Allow, Methods: []string{"PUT", "GET"}},
			{Caller: "a", Target: "b", Effect: policy.Deny},
		},
	})
	const want = `{"services":{"a":{"environments":["production"]},"b":{"environments":["production","staging"],"scopes":["api:read","metrics:read"]}},` +
		`"edges":[{"caller":"b","targets":["a","b"],"methods":["GET","PUT"]},{"caller":"a","target":"b","effect":"deny"}],` +
		`"operators":{},"service_accounts":{}}`
	if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}

// TestCloneSharesNothing: who changes a clone leaves the original alone.
func TestCloneSharesNothing(t *testing.T) {
	t.Parallel()
	doc := shipped(t)
	before, _ := json.Marshal(doc)
	other := doc.Clone()
	other.Services["isectech-admin"].Scopes[0] = "admin:write"
	delete(other.Services, "isectech-frontend")
	other.Edges[0].Targets[0] = "isectech-admin"
	other.Operators["eve@isectech.com"] = policy.Operator{}
	other.Operators[ops].Scopes[0] = "api:read"
	other.ServiceAccounts[robot] = policy.Account{}
	if after, _ := json.Marshal(doc); string(after) != string(before) {
		t.Errorf("changed:\n%s\n%s", before, after)
	}
	if _, err := policy.Compile(other, 1); !errors.Is(err, policy.ErrInvalid) {
		t.Errorf("a service with an admin scope: %v", err)
	}
	if got := compile(t, doc).Grant(auth.MustSubject("isectech-admin"), auth.Production); got != auth.ServiceDiscover {
		t.Errorf("grant %s", got)
	}
}
