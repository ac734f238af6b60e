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

# Fuzzes one target. When its time is over while a worker is busy, go test may fail for that alone, with
# "context deadline exceeded" and no failing input (golang/go #75804): then the target gets another turn.
fuzz() {
	local turn out
	for turn in 1 2 3; do
		if out=$(CGO_ENABLED=0 go test -run '^$' -fuzz "^$2\$" -fuzztime "$FUZZTIME" "$1" </dev/null 2>&1); then
			tail -n 2 <<<"$out"
			return
		fi
		if grep -q 'Failing input' <<<"$out" || ! grep -q 'context deadline exceeded' <<<"$out"; then
			break
		fi
		echo "test-long: turn $turn of $2 ended in the middle of an input"
	done
	printf '%s\n' "$out"
	return 1
}

i=0
while read -r package name; do
	[[ -n $package ]] || continue
	printf 'test-long: %d/%d %s %s\n' $((i += 1)) "$count" "$package" "$name"
	fuzz "$package" "$name" || exit 1
done <<<"$targets"

echo 'test-long: all tests with LONG=1'
LONG=1 TEST_TIMEOUT=${TEST_TIMEOUT:-2h} scripts/test.sh
