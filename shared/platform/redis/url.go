package redis

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

const (
	defaultPort = "6379"
	maxDatabase = 1 << 20
)

// address is where a Redis is and how to be let in.
type address struct {
	host, port string
	user       string
	password   string
	database   int
	encrypted  bool
}

// parseURL reads a REDIS_URL. What it does not understand it refuses rather than ignores, and its errors say
// nothing of what the URL holds, since that may be the password in the wrong place.
func parseURL(text string) (address, error) {
	u, err := url.Parse(text)
	if err != nil {
		return address{}, errors.New("the URL is malformed") // url.Error repeats all of it
	}
	a := address{host: u.Hostname(), port: u.Port()}
	switch u.Scheme {
	case "redis":
	case "rediss":
		a.encrypted = true
	default:
		return address{}, errors.New("the URL begins neither with redis:// nor with rediss://")
	}
	switch {
	case a.host == "" || u.Opaque != "":
		return address{}, errors.New("the URL names no host")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return address{}, errors.New("the URL has a query or a fragment, which mean nothing")
	}
	if a.port == "" {
		a.port = defaultPort
	}
	if n, err := strconv.ParseUint(a.port, 10, 16); err != nil || n == 0 {
		return address{}, errors.New("the port is not one")
	}
	if u.User != nil {
		a.user = u.User.Username()
		a.password, _ = u.User.Password()
		if a.user != "" && a.password == "" {
			return address{}, errors.New("a user without a password; a password alone is written :password@")
		}
	}
	if path := strings.TrimPrefix(u.Path, "/"); path != "" {
		if a.database, err = strconv.Atoi(path); err != nil || a.database < 0 || a.database > maxDatabase || path[0] == '+' {
			return address{}, errors.New("the path is not the number of a database")
		}
	}
	return a, nil
}

// String is the address without credentials.
func (a address) String() string {
	scheme := "redis"
	if a.encrypted {
		scheme = "rediss"
	}
	return fmt.Sprintf("%s://%s/%d", scheme, a.hostPort(), a.database)
}

func (a address) hostPort() string { return net.JoinHostPort(a.host, a.port) }
