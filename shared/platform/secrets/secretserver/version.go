package secretserver

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/isectech/service-networking/shared/platform/secrets"
)

const latest = "latest"

// AddSecretVersion adds an enabled version with the next number.
func (s *Server) AddSecretVersion(_ context.Context, req *secretmanagerpb.AddSecretVersionRequest) (*secretmanagerpb.SecretVersion, error) {
	r, err := parseSecret(req.GetParent())
	if err != nil {
		return nil, err
	}
	payload := req.GetPayload()
	data := payload.GetData()
	switch {
	case len(data) == 0:
		return nil, status.Error(codes.InvalidArgument, "Field [payload] is required.")
	case len(data) > secrets.MaxPayload:
		return nil, status.Errorf(codes.InvalidArgument, "The payload is %d bytes; the largest permitted is %d.", len(data), secrets.MaxPayload)
	case payload.DataCrc32C != nil && payload.GetDataCrc32C() != checksum(data):
		return nil, status.Error(codes.InvalidArgument, "The checksum of the payload does not match the one provided.")
	}
	rec, err := s.change(r, func(rec *record) error {
		rec.Versions = append(rec.Versions, version{
			State: secretmanagerpb.SecretVersion_ENABLED.String(), CreateTime: s.time(), Revision: 1,
			Checked: payload.DataCrc32C != nil, Payload: data,
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rec.versionProto(r.project, int64(len(rec.Versions))), nil
}

// GetSecretVersion returns a version, by number, alias or "latest", without its payload.
func (s *Server) GetSecretVersion(_ context.Context, req *secretmanagerpb.GetSecretVersionRequest) (*secretmanagerpb.SecretVersion, error) {
	r, rec, number, err := s.find(req.GetName())
	if err != nil {
		return nil, err
	}
	return rec.versionProto(r.project, number), nil
}

// AccessSecretVersion returns the payload of a version, by number, alias or "latest", which is the newest
// version whatever its state.
func (s *Server) AccessSecretVersion(_ context.Context, req *secretmanagerpb.AccessSecretVersionRequest) (*secretmanagerpb.AccessSecretVersionResponse, error) {
	r, rec, number, err := s.find(req.GetName())
	if err != nil {
		return nil, err
	}
	v := rec.Versions[number-1]
	if state(v.State) != secretmanagerpb.SecretVersion_ENABLED {
		return nil, inState(r, number, v)
	}
	sum := checksum(v.Payload)
	return &secretmanagerpb.AccessSecretVersionResponse{
		Name:    r.versionName(number),
		Payload: &secretmanagerpb.SecretPayload{Data: v.Payload, DataCrc32C: &sum},
	}, nil
}

// ListSecretVersions lists the versions of a secret, newest first. The filter is state:NAME or
// state=NAME.
func (s *Server) ListSecretVersions(_ context.Context, req *secretmanagerpb.ListSecretVersionsRequest) (*secretmanagerpb.ListSecretVersionsResponse, error) {
	r, err := parseSecret(req.GetParent())
	if err != nil {
		return nil, err
	}
	wanted, err := parseFilter(req.GetFilter())
	if err != nil {
		return nil, err
	}
	size, err := pageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	rec, err := s.load(r)
	if err != nil {
		return nil, err
	}
	var numbers []int64 // newest first
	for i, v := range slices.Backward(rec.Versions) {
		if wanted == "" || v.State == wanted {
			numbers = append(numbers, int64(i)+1)
		}
	}
	answer := &secretmanagerpb.ListSecretVersionsResponse{TotalSize: clampInt32(len(numbers))}
	if req.GetPageToken() != "" {
		before, ok := parseNumber(req.GetPageToken())
		if !ok {
			return nil, status.Error(codes.InvalidArgument, "page_token is not one that this server gave")
		}
		// The token is the last number shown: versions added meanwhile are newer and disturb nothing.
		numbers = slices.DeleteFunc(numbers, func(n int64) bool { return n >= before })
	}
	if len(numbers) > size {
		numbers = numbers[:size]
		answer.NextPageToken = strconv.FormatInt(numbers[size-1], 10)
	}
	for _, n := range numbers {
		answer.Versions = append(answer.Versions, rec.versionProto(r.project, n))
	}
	return answer, nil
}

// DisableSecretVersion makes a version unreadable.
func (s *Server) DisableSecretVersion(_ context.Context, req *secretmanagerpb.DisableSecretVersionRequest) (*secretmanagerpb.SecretVersion, error) {
	return s.setState(req.GetName(), req.GetEtag(), secretmanagerpb.SecretVersion_DISABLED)
}

// EnableSecretVersion makes a version readable.
func (s *Server) EnableSecretVersion(_ context.Context, req *secretmanagerpb.EnableSecretVersionRequest) (*secretmanagerpb.SecretVersion, error) {
	return s.setState(req.GetName(), req.GetEtag(), secretmanagerpb.SecretVersion_ENABLED)
}

// DestroySecretVersion removes the payload of a version for ever.
func (s *Server) DestroySecretVersion(_ context.Context, req *secretmanagerpb.DestroySecretVersionRequest) (*secretmanagerpb.SecretVersion, error) {
	return s.setState(req.GetName(), req.GetEtag(), secretmanagerpb.SecretVersion_DESTROYED)
}

// setState moves a version to a state; one that it has already counts as a change and gets a new etag.
func (s *Server) setState(name, etag string, to secretmanagerpb.SecretVersion_State) (*secretmanagerpb.SecretVersion, error) {
	r, err := parseVersion(name)
	if err != nil {
		return nil, err
	}
	number, ok := parseNumber(r.version)
	if !ok {
		return nil, status.Errorf(codes.InvalidArgument, "The provided Secret Version [%.300s] must be named by its number.", name)
	}
	rec, err := s.change(r, func(rec *record) error {
		if number > int64(len(rec.Versions)) {
			return noVersion(r, r.version)
		}
		v := &rec.Versions[number-1]
		if etag != "" && etag != rec.etagOf(number, v.Revision) {
			return errEtag
		}
		if state(v.State) == secretmanagerpb.SecretVersion_DESTROYED {
			return inState(r, number, *v)
		}
		if to == secretmanagerpb.SecretVersion_DESTROYED {
			v.Payload, v.DestroyTime = nil, s.time()
		}
		v.State = to.String()
		v.Revision++
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rec.versionProto(r.project, number), nil
}

// find loads a secret and resolves the version in a name.
func (s *Server) find(name string) (resource, *record, int64, error) {
	r, err := parseVersion(name)
	if err != nil {
		return r, nil, 0, err
	}
	rec, err := s.load(r)
	if status.Code(err) == codes.NotFound {
		return r, nil, 0, status.Errorf(codes.NotFound, "Secret [%s] not found or has no versions.", r.secretName())
	}
	if err != nil {
		return r, nil, 0, err
	}
	if len(rec.Versions) == 0 {
		return r, nil, 0, status.Errorf(codes.NotFound, "Secret [%s] not found or has no versions.", r.secretName())
	}
	number, ok := parseNumber(r.version)
	if !ok {
		number, ok = rec.Aliases[r.version]
	}
	if r.version == latest {
		number, ok = int64(len(rec.Versions)), true
	}
	if !ok || number > int64(len(rec.Versions)) {
		return r, nil, 0, noVersion(r, r.version)
	}
	return r, rec, number, nil
}

func noVersion(r resource, version string) error {
	return status.Errorf(codes.NotFound, "Secret Version [%s/versions/%.300s] not found.", r.secretName(), version)
}

func inState(r resource, number int64, v version) error {
	return status.Errorf(codes.FailedPrecondition, "Secret Version [%s] is in %s state.", r.versionName(number), v.State)
}

func parseFilter(filter string) (stateName string, err error) {
	if filter == "" {
		return "", nil
	}
	for _, prefix := range []string{"state:", "state="} {
		if name, ok := strings.CutPrefix(filter, prefix); ok {
			name = strings.ToUpper(strings.TrimSpace(name))
			if state(name) != secretmanagerpb.SecretVersion_STATE_UNSPECIFIED {
				return name, nil
			}
		}
	}
	return "", status.Errorf(codes.Unimplemented, "filter %.100q is not served; state:NAME is", filter)
}
