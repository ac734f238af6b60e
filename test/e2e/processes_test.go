package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/platform/bootstrap"
	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/platform/redis/redistest"
	"github.com/isectech/service-networking/shared/platform/secrets"
	"github.com/isectech/service-networking/shared/platform/secrets/secretserver"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/firestorestore"
	"github.com/isectech/service-networking/shared/store/firestorestore/emulatortest"
)

// Processes is a platform of which each function is a process of its own, on the emulators and a real Redis.
type Processes struct {
	project   string
	firestore *emulatortest.Private
	redis     *redistest.Server
	pubsub    string
	store     *firestorestore.Store // the harness's own view
	signers   map[string]signature.Signer

	authz     *process
	registers []*process
	commands  *process
	changes   *process
}

var _ Platform = (*Processes)(nil)

const operator = "ops@isectech.com"

// startProcesses starts a platform that lasts as long as the test.
func startProcesses(t *testing.T) *Processes {
	t.Helper()
	shim := newShim(t)
	p := &Processes{
		project:   emulatortest.Project(),
		firestore: emulatortest.Start(t, "--functions_emulator="+shim.addr()),
		redis:     redistest.Start(t),
		pubsub:    startPubSub(t),
	}
	p.store = p.openStore(t)
	secretManager := p.bootstrap(t)
	p.define(t, buildFunction(t), secretManager)
	shim.route(p.project, p.changes.url)
	p.trigger(t)
	p.topics(t)
	for _, part := range p.functions() {
		run(t, part)
	}
	return p
}

func (p *Processes) openStore(t testing.TB) *firestorestore.Store {
	t.Helper()
	documents, err := firestorestore.New(p.firestore.Client(t, p.project), firestorestore.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return documents
}

// bootstrap makes policy, keys and services as an operator would, and returns where the secrets are served.
func (p *Processes) bootstrap(t testing.TB) (secretManager string) {
	t.Helper()
	vault, err := secretserver.Open("", time.Now)
	check(t, err)
	t.Cleanup(func() { check(t, vault.Close()) })
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	go func() {
		if err := vault.Serve(listener); err != nil {
			t.Errorf("Secret Manager: %v", err)
		}
	}()
	client, err := vault.Client(t.Context())
	check(t, err)
	t.Cleanup(func() { _ = client.Close() })

	boot := &bootstrap.Platform{
		Store: p.store, Secrets: client, Now: time.Now, Actor: auth.MustSubject("operator:" + operator), Cause: "end-to-end test",
	}
	doc := policy.Default(auth.Production, auth.Development)
	doc.Operators = map[string]policy.Operator{operator: {Scopes: []string{auth.AdminRead.String(), auth.AdminWrite.String()}}}
	_, err = boot.Run(t.Context(), doc)
	check(t, err)
	p.signers = map[string]signature.Signer{}
	for name := range doc.Services {
		_, err := boot.AddAPIKey(t.Context(), auth.MustSubject(name))
		check(t, err)
		p.signers[name] = apiKey(t, client, name)
	}
	return listener.Addr().String()
}

// apiKey reads the first version of a service's API key.
func apiKey(t testing.TB, client *secrets.Client, service string) signature.Signer {
	t.Helper()
	name := auth.MustSubject(service)
	value, err := client.Access(t.Context(), trust.APIKeySecret(name), 1)
	check(t, err)
	key, err := signature.ParseKey(string(value.Reveal()))
	check(t, err)
	return signature.Signer{Service: name, KeyID: "k1", Key: key, Now: time.Now}
}

// define says how each function is started.
func (p *Processes) define(t testing.TB, binary, secretManager string) {
	t.Helper()
	marker := rand.Text()
	ports := map[string]string{}
	part := func(name, target string) *process {
		port := freePort(t)
		ports[name] = port
		env := []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
			"FUNCTION_TARGET=" + target, "PORT=" + port,
			"GOOGLE_CLOUD_PROJECT=" + p.project, "FIRESTORE_EMULATOR_HOST=" + p.firestore.Addr(),
			"PUBSUB_EMULATOR_HOST=" + p.pubsub, "SECRET_MANAGER_EMULATOR_HOST=" + secretManager,
			"REDIS_URL=" + p.redis.URL(), "TRUSTED_PROXY_MARKER=" + marker, "ENVIRONMENT=production",
			"REQUEST_TIMEOUT=10s", "ALLOW_LOG_RATE=0",
		}
		if name != "authz" {
			env = append(env, "AUTHZ_URL=http://127.0.0.1:"+ports["authz"])
		} else {
			env = append(env, "AUTHZ_URL=http://127.0.0.1:"+port)
		}
		return &process{name: name, command: []string{binary}, env: env, url: "http://127.0.0.1:" + port, health: "http://127.0.0.1:" + port + "/"}
	}
	p.authz = part("authz", "Authz")
	p.registers = []*process{part("register-1", "Register"), part("register-2", "Register")}
	p.commands = part("commands", "RegisterCommand")
	p.changes = part("changes", "RegistryChanged")
}

func (p *Processes) functions() []*process {
	return append([]*process{p.authz, p.commands, p.changes}, p.registers...)
}

// trigger has Firestore tell of changes of the records.
func (p *Processes) trigger(t testing.TB) {
	t.Helper()
	url := fmt.Sprintf("http://%s/emulator/v1/projects/%s/eventarcTrigger?eventarcTriggerId=changes", p.firestore.Addr(), p.project)
	const body = `{"eventType":"google.cloud.firestore.document.v1.written","database":"(default)","namespace":"(default)",
		"document":{"value":"services/{id}","matchType":"PATH_PATTERN"}}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewBufferString(body))
	check(t, err)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	check(t, err)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("document events: %s", res.Status)
	}
}

// topics makes all topics, and the subscription by which commands reach their function.
func (p *Processes) topics(t testing.TB) {
	t.Helper()
	client := pubsubClient(t, p.pubsub, p.project)
	for _, name := range events.Topics() {
		for _, name := range []string{name, name + events.DeadLetter} {
			_, err := client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: p.topic(name)})
			check(t, err)
		}
	}
	_, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
		Name: "projects/" + p.project + "/subscriptions/commands", Topic: p.topic(events.TopicRegistryCommands), AckDeadlineSeconds: 10,
		// The path is the one that the functions framework knows the emulator's pushes by.
		PushConfig:  &pubsubpb.PushConfig{PushEndpoint: relay(t, p.commands.url) + "/" + p.topic(events.TopicRegistryCommands)},
		RetryPolicy: &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(100 * time.Millisecond), MaximumBackoff: durationpb.New(time.Second)},
	})
	check(t, err)
}

func (p *Processes) topic(name string) string { return "projects/" + p.project + "/topics/" + name }

// Authz implements Platform.
func (p *Processes) Authz() string { return p.authz.url }

// Registers implements Platform.
func (p *Processes) Registers() []string { return []string{p.registers[0].url, p.registers[1].url} }

// Signer implements Platform.
func (p *Processes) Signer(t testing.TB, service string) signature.Signer {
	t.Helper()
	signer, ok := p.signers[service]
	if !ok {
		t.Fatalf("no API key of %s, only of %v", service, maps.Keys(p.signers))
	}
	return signer
}

// PubSub implements Platform.
func (p *Processes) PubSub() (address, project string) { return p.pubsub, p.project }

// Restart implements Platform.
func (p *Processes) Restart(t testing.TB) {
	t.Helper()
	for _, part := range p.functions() {
		part.kill()
	}
	for _, part := range p.functions() {
		if err := part.start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// Verify implements Platform.
func (p *Processes) Verify(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), eventTimeout)
	defer cancel()
	report, err := store.Verify(ctx, p.store, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if !report.Clean() {
		t.Errorf("the journal of %d entries has %d faults: %v", report.Entries, len(report.Faults), report.Faults)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
