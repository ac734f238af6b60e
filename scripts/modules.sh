#!/usr/bin/env bash
# What concerns modules rather than code.
#   modules.sh tidy    brings every go.mod, go.sum and the workspace into agreement, and writes the lists of what
#                      each function is linked from
#   modules.sh check   builds and vets each module as it stands alone, and fails where tidy would change
#                      anything (that all name the same versions is a law in test/laws)
set -euo pipefail
cd "$(dirname "$0")/.."

# A workspace has each module's dependencies at one version; sync writes that choice into every go.mod,
# and tidy drops what it made superfluous.
tidy() {
	local dir
	go work sync
	while read -r dir; do
		(cd "$dir" && GOWORK=off go mod tidy)
	done < <(go list -m -f '{{.Dir}}')
	go -C test run ./cmd/stage -root "$PWD" -deps
}

check() {
	local dir failed=0
	while read -r dir; do
		echo "modules: ${dir#"$PWD"/} on its own"
		(cd "$dir" && export GOWORK=off && go build ./... && go vet ./... && go mod tidy -diff) || failed=1
	done < <(go list -m -f '{{.Dir}}')
	return $failed
}

case ${1:-} in
tidy | check) "$1" ;;
*)
	echo 'usage: modules.sh tidy|check' >&2
	exit 2
	;;
esac
