#!/usr/bin/env bash
# Fuzzes every target of every module for FUZZTIME each, then runs all tests with LONG=1, which is what the
# long simulations ask for. Ends with status 1 at the first finding; go test says where it kept the input.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! listed=$(CGO_ENABLED=0 go test -list '^Fuzz' work 2>&1); then
	printf '%s\n' "$listed"
	exit 1
fi
# A package's names come first, then a line "ok <package> …".
targets=$(awk '/^Fuzz/ { names[n++] = $1; next } { for (i = 0; i < n; i++) print $2, names[i]; n = 0 }' <<<"$listed")
count=$(grep -c . <<<"$targets" || true)
echo "test-long: $count fuzz targets, ${FUZZTIME:=60s} each"

i=0
while read -r package name; do
	[[ -n $package ]] || continue
	printf 'test-long: %d/%d %s %s\n' $((i += 1)) "$count" "$package" "$name"
	CGO_ENABLED=0 go test -run '^$' -fuzz "^$name\$" -fuzztime "$FUZZTIME" "$package" </dev/null || exit 1
done <<<"$targets"

echo 'test-long: all tests with LONG=1'
LONG=1 TEST_TIMEOUT=${TEST_TIMEOUT:-2h} scripts/test.sh
