#!/usr/bin/env bash
# Checks every module: formatting, go vet, golangci-lint and, where the vulnerability database can be
# reached, govulncheck. `lint.sh fmt` formats instead. The tools come from the Go module proxy at the versions
# below into .tools/, a folder a version, so that one build of each serves until the version changes.
set -euo pipefail
shopt -s inherit_errexit # a tool that does not build ends the run
cd "$(dirname "$0")/.."

golangci_lint=github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
govulncheck=golang.org/x/vuln/cmd/govulncheck@v1.9.0

# Prints the path of a tool, built first where it is missing.
tool() {
	local name=${1##*/}
	local dir=$PWD/.tools/$name
	if [[ ! -x $dir/${name%@*} ]]; then
		echo "lint: building $name" >&2
		GOWORK=off GOFLAGS= GOBIN=$dir go install "$1" >&2
	fi
	printf '%s\n' "$dir/${name%@*}"
}

lint=$(tool "$golangci_lint")
mapfile -t modules < <(go list -m -f '{{.Dir}}')
failed=0

if [[ ${1:-} == fmt ]]; then
	for dir in "${modules[@]}"; do
		(cd "$dir" && "$lint" fmt ./...)
	done
	exit
fi

for dir in "${modules[@]}"; do
	echo "lint: ${dir#"$PWD"/}"
	(cd "$dir" && go vet ./... && "$lint" run ./...) || failed=1
done

# gofmt sees what no build includes: files behind constraints, test data that is Go.
unformatted=$(git ls-files -z --cached --others --exclude-standard '*.go' | xargs -0r gofmt -l)
if [[ -n $unformatted ]]; then
	printf 'lint: gofmt would change:\n%s\n' "$unformatted"
	failed=1
fi

database=${GOVULNDB:-https://vuln.go.dev}
if curl -fsS -m 10 -o /dev/null "$database/index/db.json" 2>/dev/null; then
	scan=$(tool "$govulncheck")
	for dir in "${modules[@]}"; do
		echo "lint: govulncheck ${dir#"$PWD"/}"
		(cd "$dir" && "$scan" ./...) || failed=1
	done
else
	echo "lint: govulncheck SKIPPED: its database at $database cannot be reached from here"
fi
exit $failed
