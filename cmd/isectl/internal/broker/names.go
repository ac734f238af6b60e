package broker

import (
	"regexp"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// deletedTopic is what a subscription shows of a topic that is no more.
const deletedTopic = "_deleted-topic_"

var (
	idPattern      = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._~%+-]{2,254}$`)
	projectPattern = regexp.MustCompile(`^[a-z][a-z0-9.:-]{0,99}$`)
)

// checkTopic checks projects/P/topics/T.
func checkTopic(name string) error { return checkName(name, "topics") }

// checkSubscription checks projects/P/subscriptions/S.
func checkSubscription(name string) error { return checkName(name, "subscriptions") }

func checkName(name, collection string) error {
	parts := strings.Split(name, "/")
	if len(parts) != 4 || parts[0] != "projects" || parts[2] != collection ||
		!projectPattern.MatchString(parts[1]) || !idPattern.MatchString(parts[3]) || strings.HasPrefix(parts[3], "goog") {
		return status.Errorf(codes.InvalidArgument, "Invalid [%s] name: (name=%.300s)", collection, name)
	}
	return nil
}

// checkProject checks projects/P.
func checkProject(name string) error {
	if p, ok := strings.CutPrefix(name, "projects/"); !ok || !projectPattern.MatchString(p) {
		return status.Errorf(codes.InvalidArgument, "Invalid [projects] name: (name=%.300s)", name)
	}
	return nil
}

// projectOf returns the project's part of a name that was checked.
func projectOf(name string) string { return strings.Split(name, "/")[1] }

// idOf returns the last part of a name.
func idOf(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

func notFound(name string) error {
	return status.Errorf(codes.NotFound, "Resource not found (resource=%s).", idOf(name))
}

func exists(name string) error {
	return status.Errorf(codes.AlreadyExists, "Resource already exists in the project (resource=%s).", idOf(name))
}

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

func unimplemented(what string) error {
	return status.Errorf(codes.Unimplemented, "%s: not served by the local broker", what)
}
