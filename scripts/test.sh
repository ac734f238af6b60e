#!/usr/bin/env bash
# Runs the tests of every module of the workspace under the race detector and in random order.
# Arguments go to `go test`.
set -euo pipefail
cd "$(dirname "$0")/.."

race=-race
compiler=$(go env CC)
if command -v "${compiler%% *}" >/dev/null; then
	export CGO_ENABLED=1 # the race detector's runtime is C
elif [[ ${CI:-} == true ]]; then
	echo 'test: no C compiler, so no race detector, and CI is true' >&2
	exit 1
else
	echo 'test: NOTICE: no C compiler: running WITHOUT THE RACE DETECTOR'
	race=
fi

# "work" is every package of every module that go.work names.
exec go test $race -shuffle=on -timeout="${TEST_TIMEOUT:-8m}" "$@" work
