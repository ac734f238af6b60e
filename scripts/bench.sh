#!/usr/bin/env bash
# bench.sh MODULE PACKAGE…: runs the benchmarks of a module's packages BENCHCOUNT times and ends with one
# JSON line for each: the median, and the spread between the fastest and the slowest run as a share of it.
set -euo pipefail
cd "$(dirname "$0")/.."
cd "$1"
shift

results=$(mktemp)
trap 'rm -f "$results"' EXIT
go test -run '^$' -bench . -benchmem -count "${BENCHCOUNT:-6}" "$@" </dev/null | tee "$results"

# A result line: BenchmarkName-2 <iterations> <value> ns/op <value> B/op <value> allocs/op
awk '
	$1 ~ /^Benchmark/ && NF >= 4 {
		name = $1
		sub(/^Benchmark/, "", name)
		sub(/-[0-9]+$/, "", name)
		for (i = 3; i < NF; i += 2) {
			if ($(i + 1) != "ns/op" && $(i + 1) != "allocs/op") continue
			key = name SUBSEP $(i + 1)
			if (!(key in runs)) order[n++] = key
			value[key, ++runs[key]] = $i + 0
		}
	}
	END {
		for (k = 0; k < n; k++) {
			key = order[k]
			m = runs[key]
			for (i = 1; i <= m; i++) sorted[i] = value[key, i]
			for (i = 2; i <= m; i++)
				for (j = i; j > 1 && sorted[j] < sorted[j - 1]; j--) {
					t = sorted[j]; sorted[j] = sorted[j - 1]; sorted[j - 1] = t
				}
			median = m % 2 ? sorted[(m + 1) / 2] : (sorted[m / 2] + sorted[m / 2 + 1]) / 2
			spread = median > 0 ? (sorted[m] - sorted[1]) / median : 0
			split(key, part, SUBSEP)
			printf "{\"figure\":\"%s\",\"value\":%.10g,\"unit\":\"%s\",\"spread\":%.3f,\"runs\":%d}\n", part[1], median, part[2], spread, m
		}
	}' "$results"
