package secretserver

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	defaultPageSize = 100
	maxPageSize     = 25_000
	maxLabels       = 64
	maxAliases      = 50
)

var (
	labelKey   = regexp.MustCompile(`^[\p{Ll}\p{Lo}][\p{Ll}\p{Lo}\p{N}_-]{0,62}$`)
	labelValue = regexp.MustCompile(`^[\p{Ll}\p{Lo}\p{N}_-]{0,63}$`)
	alias      = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,62}$`)
)

// errEtag is the answer to an etag that is not the current one.
var errEtag = status.Error(codes.FailedPrecondition,
	"The etag provided in the request does not match the resource's current etag.")

// CreateSecret makes a secret without versions.
func (s *Server) CreateSecret(_ context.Context, req *secretmanagerpb.CreateSecretRequest) (*secretmanagerpb.Secret, error) {
	project, err := parseProject(req.GetParent())
	if err != nil {
		return nil, err
	}
	r, err := parseSecret("projects/" + project + "/secrets/" + req.GetSecretId())
	if err != nil {
		return nil, err
	}
	wanted := req.GetSecret()
	switch {
	case wanted.GetReplication() == nil:
		return nil, status.Error(codes.InvalidArgument, "Field [secret.replication] is required.")
	case wanted.GetReplication().GetAutomatic() == nil,
		wanted.GetReplication().GetAutomatic().GetCustomerManagedEncryption() != nil,
		wanted.GetTopics() != nil, wanted.GetExpiration() != nil, wanted.GetRotation() != nil,
		wanted.GetVersionDestroyTtl() != nil, wanted.GetAnnotations() != nil, wanted.GetTags() != nil,
		wanted.GetSecretType() != 0, wanted.GetCustomerManagedEncryption() != nil:
		return nil, status.Error(codes.Unimplemented, "a secret here has automatic replication and labels, nothing else")
	case len(wanted.GetVersionAliases()) > 0:
		return nil, status.Error(codes.InvalidArgument, "a version alias must point to an existing version")
	}
	if err := validLabels(wanted.GetLabels()); err != nil {
		return nil, err
	}
	unlock, err := s.files.lock()
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	defer unlock()
	// A file that is there but cannot be read is a secret all the same: it must not be replaced.
	if _, err := s.files.read(fileName(r.secret)); err == nil {
		return nil, status.Errorf(codes.AlreadyExists, "Secret [%s] already exists.", r.secretName())
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, stored(fileName(r.secret), err)
	}
	rec := &record{Name: r.secret, CreateTime: s.time(), Revision: 1, Labels: wanted.GetLabels()}
	if err := s.save(rec); err != nil {
		return nil, err
	}
	return rec.proto(project), nil
}

// GetSecret returns a secret without its versions.
func (s *Server) GetSecret(_ context.Context, req *secretmanagerpb.GetSecretRequest) (*secretmanagerpb.Secret, error) {
	r, err := parseSecret(req.GetName())
	if err != nil {
		return nil, err
	}
	rec, err := s.load(r)
	if err != nil {
		return nil, err
	}
	return rec.proto(r.project), nil
}

// ListSecrets lists secrets by name.
func (s *Server) ListSecrets(_ context.Context, req *secretmanagerpb.ListSecretsRequest) (*secretmanagerpb.ListSecretsResponse, error) {
	project, err := parseProject(req.GetParent())
	if err != nil {
		return nil, err
	}
	if req.GetFilter() != "" {
		return nil, status.Error(codes.Unimplemented, "ListSecrets takes no filter here")
	}
	listed, err := s.files.list()
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	slices.Sort(listed)
	size, err := pageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	// The token is the last file shown: secrets that come and go meanwhile disturb no other.
	start, _ := slices.BinarySearch(listed, req.GetPageToken()+"\x00")
	if req.GetPageToken() == "" {
		start = 0
	}
	answer := &secretmanagerpb.ListSecretsResponse{TotalSize: clampInt32(len(listed))}
	for i, file := range listed[start:] {
		if i == size {
			answer.NextPageToken = listed[start+i-1]
			break
		}
		rec, err := s.loadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted since the directory was listed
		}
		if err != nil {
			return nil, stored(file, err)
		}
		answer.Secrets = append(answer.Secrets, rec.proto(project))
	}
	return answer, nil
}

// UpdateSecret changes labels and version aliases.
func (s *Server) UpdateSecret(_ context.Context, req *secretmanagerpb.UpdateSecretRequest) (*secretmanagerpb.Secret, error) {
	r, err := parseSecret(req.GetSecret().GetName())
	if err != nil {
		return nil, err
	}
	if len(req.GetUpdateMask().GetPaths()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "Field [update_mask] is required.")
	}
	rec, err := s.change(r, func(rec *record) error {
		if etag := req.GetSecret().GetEtag(); etag != "" && etag != rec.etag() {
			return errEtag
		}
		for _, path := range req.GetUpdateMask().GetPaths() {
			switch path {
			case "labels":
				if err := validLabels(req.GetSecret().GetLabels()); err != nil {
					return err
				}
				rec.Labels = maps.Clone(req.GetSecret().GetLabels())
			case "version_aliases":
				if err := rec.validAliases(req.GetSecret().GetVersionAliases()); err != nil {
					return err
				}
				rec.Aliases = maps.Clone(req.GetSecret().GetVersionAliases())
			default:
				return status.Errorf(codes.Unimplemented, "field %.100q of a secret cannot be changed here", path)
			}
		}
		rec.Revision++
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rec.proto(r.project), nil
}

// DeleteSecret removes a secret and all its versions.
func (s *Server) DeleteSecret(_ context.Context, req *secretmanagerpb.DeleteSecretRequest) (*emptypb.Empty, error) {
	r, err := parseSecret(req.GetName())
	if err != nil {
		return nil, err
	}
	unlock, err := s.files.lock()
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	defer unlock()
	rec, err := s.load(r)
	if err != nil {
		return nil, err
	}
	if req.GetEtag() != "" && req.GetEtag() != rec.etag() {
		return nil, errEtag
	}
	if err := s.files.remove(fileName(r.secret)); err != nil {
		return nil, stored(fileName(r.secret), err)
	}
	return &emptypb.Empty{}, nil
}

func validLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return status.Errorf(codes.InvalidArgument, "no more than %d labels can be assigned to a secret", maxLabels)
	}
	for key, value := range labels {
		if !labelKey.MatchString(key) || len(key) > 128 || !labelValue.MatchString(value) || len(value) > 128 {
			return status.Errorf(codes.InvalidArgument, "label %.100q is not of the form that labels have", key)
		}
	}
	return nil
}

func (r *record) validAliases(aliases map[string]int64) error {
	if len(aliases) > maxAliases {
		return status.Errorf(codes.InvalidArgument, "no more than %d aliases can be assigned to a secret", maxAliases)
	}
	for name, number := range aliases {
		if !alias.MatchString(name) || name == "latest" || name == "NEW" {
			return status.Errorf(codes.InvalidArgument, "version alias %.100q is not of the form that aliases have", name)
		}
		if number < 1 || number > int64(len(r.Versions)) {
			return status.Errorf(codes.InvalidArgument, "version alias %q points to version %d, which does not exist", name, number)
		}
	}
	return nil
}

func pageSize(asked int32) (int, error) {
	switch {
	case asked < 0:
		return 0, status.Error(codes.InvalidArgument, "page_size must not be negative")
	case asked == 0:
		return defaultPageSize, nil
	default:
		return int(min(asked, maxPageSize)), nil
	}
}

func clampInt32(n int) int32 {
	const most = 1<<31 - 1
	return int32(min(n, most)) //nolint:gosec // min keeps it in range
}

func parseNumber(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n > 0 && strconv.FormatInt(n, 10) == s
}
