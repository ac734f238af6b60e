package local_test

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/isectech/service-networking/cmd/isectl/internal/local"
	"github.com/isectech/service-networking/functions/register/clouddns/clouddnstest"
)

// dig asks the platform's name server.
func (p *platform) dig(t *testing.T, network, name string, kind uint16) (rcode int, answer []string) {
	t.Helper()
	client := dns.Client{Net: network, Timeout: 30 * time.Second}
	reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(name, kind), p.DNS)
	if err != nil {
		t.Fatal(err)
	}
	for _, rr := range reply.Answer {
		answer = append(answer, strings.Join(strings.Fields(rr.String())[4:], " "))
	}
	return reply.Rcode, answer
}

// What is registered is found by DNS under each alias at once, and no longer when it is gone; what runs in another
// environment is not.
func TestDNS(t *testing.T) {
	t.Parallel()
	p := mustRun(t, newDir(t), nil)
	bearer := p.bearer(t, backend)
	add := func(id, environment, url string) {
		t.Helper()
		body := `{"service_id":"` + id + `","service_name":"` + backend + `","environment":"` + environment + `","endpoints":[{"name":"api","url":"` + url + `"}]}`
		if code, answer := p.request(t, http.MethodPost, "/internal/registry/register", body, bearer); code != http.StatusCreated {
			t.Fatalf("register: %d %v", code, answer)
		}
	}
	const name = "backend.internal.isectech.com."
	if rcode, _ := p.dig(t, "udp", name, dns.TypeA); rcode != dns.RcodeNameError {
		t.Errorf("before anything is registered: %s", dns.RcodeToString[rcode])
	}
	add("backend-services-001", "production", "http://10.1.2.3:8080")
	add("backend-services-002", "production", "https://backend-abc-uc.a.run.app")
	for _, network := range []string{"udp", "tcp"} {
		for _, alias := range []string{name, "Backend-Services.internal.isectech.com."} {
			if _, got := p.dig(t, network, alias, dns.TypeA); !cmp.Equal(got, []string{"10.1.2.3"}) {
				t.Errorf("%s %s: %v", network, alias, got)
			}
		}
		_, got := p.dig(t, network, "_api._tcp."+name, dns.TypeSRV)
		if want := []string{"0 1 443 backend-abc-uc.a.run.app.", "0 1 8080 ip-10-1-2-3." + name}; !cmp.Equal(got, want) {
			t.Errorf("%s: %v", network, got)
		}
	}
	if rcode, _ := p.dig(t, "udp", "isectech-backend-services.internal.isectech.com.", dns.TypeA); rcode != dns.RcodeNameError {
		t.Errorf("the full name is an alias: %s", dns.RcodeToString[rcode])
	}
	for _, id := range []string{"backend-services-001", "backend-services-002"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, p.Server+"/internal/registry/services/"+id, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = bearer
		res, err := http.DefaultClient.Do(r)
		if err != nil || res.StatusCode >= 300 {
			t.Fatalf("unregister: %v %v", res, err)
		}
		_ = res.Body.Close()
	}
	if rcode, _ := p.dig(t, "udp", name, dns.TypeA); rcode != dns.RcodeNameError {
		t.Errorf("after all is gone: %s", dns.RcodeToString[rcode])
	}
}

// Without a port of its own the server takes 8053 or a free one, so that several platforms run beside each other; with
// one that is taken the start fails with a line that names the variable.
func TestDNSPort(t *testing.T) {
	t.Parallel()
	first, second := mustRun(t, newDir(t), nil), mustRun(t, newDir(t), nil)
	if first.DNS == second.DNS {
		t.Errorf("both at %s", first.DNS)
	}
	_, port, err := net.SplitHostPort(first.DNS)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{port, "99999", "x"} {
		err := local.Run(t.Context(), local.Options{
			Dir: newDir(t), Port: "0", DNSPort: bad, Lookup: func(string) (string, bool) { return "", false },
			Now: time.Now, Logs: t.Output(), Ready: func(local.Info) { t.Errorf("runs with DNS_PORT=%s", bad) },
		})
		if err == nil || !strings.HasPrefix(err.Error(), "DNS_PORT: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("port %s: %v", bad, err)
		}
	}
}

// With a managed zone to keep in step, changes reach it by their events.
func TestManagedZone(t *testing.T) {
	t.Parallel()
	zone := clouddnstest.New()
	t.Cleanup(zone.Close)
	p := mustRun(t, newDir(t), map[string]string{
		"DNS_ZONE": clouddnstest.Zone, "GOOGLE_CLOUD_PROJECT": clouddnstest.Project, "CLOUD_DNS_EMULATOR_HOST": zone.Address,
	})
	body := `{"service_id":"backend-services-001","service_name":"` + backend + `","environment":"production","endpoints":[{"name":"api","url":"http://10.1.2.3"}]}`
	if code, answer := p.request(t, http.MethodPost, "/internal/registry/register", body, p.bearer(t, backend)); code != http.StatusCreated {
		t.Fatalf("register: %d %v", code, answer)
	}
	const name = "backend.internal.isectech.com."
	deadline := time.After(time.Minute)
	for len(zone.Data(name, "A")) == 0 {
		select {
		case <-deadline:
			t.Fatalf("the zone holds %v", zone.Sets())
		case <-time.After(20 * time.Millisecond):
		}
	}
	// The local server answers the same: what the zone holds, mark and all.
	for _, s := range zone.Sets() {
		if !strings.HasSuffix(s.Name, name) {
			continue
		}
		if _, got := p.dig(t, "udp", s.Name, dns.StringToType[s.Type]); !cmp.Equal(got, s.Data) {
			t.Errorf("%s %s: %v, and in the zone %v", s.Name, s.Type, got, s.Data)
		}
	}
}
