// Package secretserver is a Secret Manager inside the process: a gRPC server of the generated stubs,
// reached through the real client over a pipe in memory. It answers with the real one's states, etags,
// checksums, errors and texts, and keeps each secret in a file of its own, so that the platform runs on
// one machine, and its tests run, without an account.
//
// Global secrets with automatic replication, their versions, labels and aliases are served; everything
// else (IAM, topics, rotation, expiry, delayed destruction, regional secrets) is UNIMPLEMENTED. A server
// has one project, which answers to any name.
package secretserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/isectech/service-networking/shared/platform/secrets"
)

// Project is the project that Client names; the server answers to any.
const Project = "local"

// pipeSize is the buffer of the pipe between client and server.
const pipeSize = 128 << 10

var secretPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)

// Server is a running Secret Manager. It is safe for concurrent use.
type Server struct {
	secretmanagerpb.UnimplementedSecretManagerServiceServer

	files    files
	now      func() time.Time
	listener *bufconn.Listener
	grpc     *grpc.Server
	served   chan struct{}
}

// Option changes what Open makes.
type Option func(*[]grpc.ServerOption)

// WithInterceptor puts an interceptor around every call: tests use it to refuse, delay or alter answers,
// or to lose the answer to a call that has been done.
func WithInterceptor(interceptor grpc.UnaryServerInterceptor) Option {
	return func(o *[]grpc.ServerOption) { *o = append(*o, grpc.ChainUnaryInterceptor(interceptor)) }
}

// Open starts a server of the secrets in a directory (made with mode 0700 if absent), or, when dir is
// empty, of secrets that end with it. Several processes may have the same directory open: each sees
// what the others have written.
func Open(dir string, now func() time.Time, opts ...Option) (*Server, error) {
	s := &Server{files: newMemory(), now: now, listener: bufconn.Listen(pipeSize), served: make(chan struct{})}
	if dir != "" {
		d, err := openDirectory(dir)
		if err != nil {
			return nil, err
		}
		s.files = d
	}
	var options []grpc.ServerOption
	for _, opt := range opts {
		opt(&options)
	}
	s.grpc = grpc.NewServer(options...)
	secretmanagerpb.RegisterSecretManagerServiceServer(s.grpc, s)
	go func() {
		defer close(s.served)
		_ = s.grpc.Serve(s.listener) // ends by Close alone: a pipe in memory cannot fail
	}()
	return s, nil
}

// Close stops the server; calls under way are cut off.
func (s *Server) Close() error {
	s.grpc.Stop()
	<-s.served
	return nil
}

// Client returns a client of the server. Close it before the server.
func (s *Server) Client(ctx context.Context) (*secrets.Client, error) {
	opts, err := s.ClientOptions()
	if err != nil {
		return nil, err
	}
	return secrets.New(ctx, Project, opts...)
}

// Serve answers on a listener too, for other processes on this machine (secrets.At), until Close. There is no
// authentication: the listener must be out of everyone else's reach.
func (s *Server) Serve(l net.Listener) error {
	err := s.grpc.Serve(l)
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// ClientOptions returns the options that connect one Google client to the server; the client's Close
// ends the connection.
func (s *Server) ClientOptions() ([]option.ClientOption, error) {
	conn, err := grpc.NewClient("passthrough:///secretserver",
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the pipe never leaves the process
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return s.listener.DialContext(ctx)
		}))
	if err != nil {
		return nil, fmt.Errorf("secretserver: connect: %w", err)
	}
	return []option.ClientOption{option.WithGRPCConn(conn), option.WithoutAuthentication()}, nil
}

// resource is a parsed name: projects/P/secrets/S or projects/P/secrets/S/versions/V.
type resource struct{ project, secret, version string }

func (r resource) secretName() string { return "projects/" + r.project + "/secrets/" + r.secret }

func (r resource) versionName(number int64) string {
	return r.secretName() + "/versions/" + strconv.FormatInt(number, 10)
}

func parseSecret(name string) (resource, error) {
	parts := strings.Split(name, "/")
	if len(parts) > 2 && parts[2] == "locations" {
		return resource{}, status.Error(codes.Unimplemented, "regional secrets are not served")
	}
	if len(parts) != 4 || parts[0] != "projects" || parts[1] == "" || parts[2] != "secrets" || !secretPattern.MatchString(parts[3]) {
		return resource{}, status.Errorf(codes.InvalidArgument, "The provided Secret name [%.300s] does not match the expected format [projects/*/secrets/*]", name)
	}
	return resource{project: parts[1], secret: parts[3]}, nil
}

func parseVersion(name string) (resource, error) {
	at := strings.LastIndex(name, "/versions/")
	if at < 0 || strings.Contains(name[at+len("/versions/"):], "/") || name[at+len("/versions/"):] == "" {
		return resource{}, status.Errorf(codes.InvalidArgument, "The provided Secret Version name [%.300s] does not match the expected format [projects/*/secrets/*/versions/*]", name)
	}
	r, err := parseSecret(name[:at])
	r.version = name[at+len("/versions/"):]
	return r, err
}

func parseProject(name string) (string, error) {
	project, ok := strings.CutPrefix(name, "projects/")
	if strings.Contains(project, "/locations/") {
		return "", status.Error(codes.Unimplemented, "regional secrets are not served")
	}
	if !ok || project == "" || strings.Contains(project, "/") {
		return "", status.Errorf(codes.InvalidArgument, "The provided project name [%.300s] does not match the expected format [projects/*]", name)
	}
	return project, nil
}

// load reads a secret.
func (s *Server) load(r resource) (*record, error) {
	file := fileName(r.secret)
	rec, err := s.loadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, status.Errorf(codes.NotFound, "Secret [%s] not found.", r.secretName())
	}
	if err != nil {
		return nil, stored(file, err)
	}
	return rec, nil
}

func (s *Server) loadFile(file string) (*record, error) {
	content, err := s.files.read(file)
	if err != nil {
		return nil, err
	}
	rec, err := decode(content)
	if err != nil {
		return nil, err
	}
	if fileName(rec.Name) != file {
		return nil, fmt.Errorf("%w: it holds the secret %.300q", errDamaged, rec.Name)
	}
	return rec, nil
}

// change loads a secret, lets edit change it and stores it, with all other writers kept out. What edit
// returns as an error leaves the secret as it was.
func (s *Server) change(r resource, edit func(*record) error) (*record, error) {
	unlock, err := s.files.lock()
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	defer unlock()
	rec, err := s.load(r)
	if err != nil {
		return nil, err
	}
	if err := edit(rec); err != nil {
		return nil, err
	}
	return rec, s.save(rec)
}

func (s *Server) save(rec *record) error {
	content, err := encode(rec)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	if err := s.files.write(fileName(rec.Name), content); err != nil {
		return stored(fileName(rec.Name), err)
	}
	return nil
}

// stored is the answer to a failure below the API; it names the file.
func stored(file string, err error) error {
	if errors.Is(err, errDamaged) {
		return status.Errorf(codes.DataLoss, "file %s: %v", file, err)
	}
	return status.Errorf(codes.Internal, "file %s: %v", file, err)
}

func (s *Server) time() time.Time { return s.now().UTC().Truncate(time.Microsecond) }
