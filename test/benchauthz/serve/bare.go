package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/big"
	"net/http"
	"os"
	"strings"

	"github.com/isectech/service-networking/shared/auth/token"
)

// bare reads the header that carries a token and answers with as many bytes as the authorizer does.
func bare(size int) http.Handler { return answering(size, func(string) bool { return true }) }

// verifying does what bare does, and SHA-256 and ECDSA over the token.
func verifying(key *ecdsa.PublicKey, size int) http.Handler {
	return answering(size, func(raw string) bool {
		i := strings.LastIndexByte(raw, '.')
		if i < 0 {
			return false
		}
		sig, err := base64.RawURLEncoding.DecodeString(raw[i+1:])
		if err != nil || len(sig) != 64 {
			return false
		}
		sum := sha256.Sum256([]byte(raw[:i]))
		return ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
	})
}

func answering(size int, good func(raw string) bool) http.Handler {
	body := bytes.Repeat([]byte{'x'}, size)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || !good(raw) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
}

// readKey returns the one key of a key set.
func readKey(file string) (*ecdsa.PublicKey, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	set, err := token.ParseJWKS(data)
	if err != nil {
		return nil, err
	}
	for _, k := range set.Keys() {
		if key, ok := k.Public.(*ecdsa.PublicKey); ok {
			return key, nil
		}
	}
	return nil, errors.New(file + ": holds no ECDSA key")
}
