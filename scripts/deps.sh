#!/usr/bin/env bash
# Finds what the tests need besides Go and a C compiler: Java, the Firestore and Pub/Sub emulators of the Google
# Cloud SDK, redis-server, nginx and caddy; and etcd for a benchmark. As root on Debian it installs all but the emulators where they are
# missing. What is then missing is said loudly; tests that need it skip, except where CI is true: there it is an
# error.
set -euo pipefail

missing=()

# Where the SDK lies: the emulators are in its platform/ folder. `gcloud info` knows too but takes seconds.
sdk_root() {
	local candidate
	if candidate=$(command -v gcloud); then
		candidate=$(dirname "$(dirname "$(readlink -f "$candidate")")")
		[[ -d $candidate/platform ]] && { printf '%s\n' "$candidate"; return; }
	fi
	for candidate in "${CLOUDSDK_ROOT_DIR:-}" /usr/lib/google-cloud-sdk "$HOME/google-cloud-sdk"; do
		[[ -n $candidate && -d $candidate/platform ]] && { printf '%s\n' "$candidate"; return; }
	done
	return 0
}

found() { printf '  found    %-20s %s\n' "$1" "$2"; }
lack() {
	printf '  MISSING  %-20s %s\n' "$1" "$2"
	missing+=("$1")
}

# Debian keeps nginx out of users' PATH.
program() { command -v "$1" || command -v "/usr/sbin/$1"; }

# The emulators want Java 11 or newer; what `java -version` prints first is `… version "17.0.15" …`.
java_major() {
	command -v java >/dev/null || return 0
	java -version 2>&1 | sed -n 's/.*version "\(1\.\)\{0,1\}\([0-9]*\).*/\2/p' | head -n 1
}

jar() { # jar ROOT PATTERN: the last file of that pattern below the SDK
	local root=$1 pattern=$2 file newest=
	for file in "$root"/platform/$pattern; do
		[[ -f $file ]] && newest=$file
	done
	printf '%s\n' "$newest"
}

echo 'deps:'
if ! command -v go >/dev/null; then
	lack go 'https://go.dev/dl, 1.26 or newer'
else
	found go "$(go version | cut -d' ' -f3-)"
fi

compiler=$(go env CC 2>/dev/null || true)
compiler=${compiler%% *}
compiler=${compiler:-cc}
major=$(java_major)

packages=()
command -v "$compiler" >/dev/null || packages+=(gcc libc6-dev)
[[ ${major:-0} -ge 11 ]] || packages+=(default-jre-headless)
# Tests start their own; the packages' services, which would start at once and at every boot, are kept from it.
services=()
for service in redis-server nginx caddy; do
	if ! program "$service" >/dev/null; then
		packages+=("$service")
		services+=("$service")
	fi
done
if ! program etcd >/dev/null; then
	packages+=(etcd-server)
	services+=(etcd)
fi
if ((${#packages[@]})) && [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
	echo "  installing ${packages[*]}"
	policy=/usr/sbin/policy-rc.d # by which Debian asks whether a package may start its service
	if [[ ! -e $policy ]]; then
		trap 'rm -f "$policy"' EXIT
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod +x "$policy"
	fi
	if ! (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}") </dev/null >/dev/null; then
		echo '  apt-get could not install them'
	fi
	if command -v systemctl >/dev/null; then
		for service in "${services[@]}"; do
			systemctl disable --quiet "$service" </dev/null >/dev/null 2>&1 || true
		done
	fi
	major=$(java_major)
fi

if command -v "$compiler" >/dev/null; then
	found 'C compiler' "$(command -v "$compiler")"
else
	lack 'C compiler' 'for the race detector: gcc or clang, e.g. apt-get install gcc libc6-dev'
fi
if [[ ${major:-0} -ge 11 ]]; then
	found java "$major ($(command -v java))"
else
	lack java 'Java 11 or newer for the emulators, e.g. apt-get install default-jre-headless'
fi

# `redis-server --version` prints "Redis server v=7.0.15 sha=…".
redis=$({ redis-server --version 2>/dev/null || true; } | sed -n 's/.* v=\([0-9][0-9.]*\) .*/\1/p')
if [[ ${redis%%.*} -ge 7 ]]; then
	found redis-server "$redis ($(command -v redis-server))"
else
	lack redis-server 'Redis 7 or newer, e.g. apt-get install redis-server'
fi

# auth_request is a module that a build may lack.
nginx=$(program nginx || true)
built=$({ "${nginx:-false}" -V 2>&1 || true; } | tr ' ' '\n')
if grep -qx -e '--with-http_auth_request_module' <<<"$built"; then
	found nginx "$(sed -n 's|.*nginx/||p' <<<"$built" | head -n 1) ($nginx)"
else
	lack nginx 'NGINX with auth_request, e.g. apt-get install nginx'
fi
caddy=$(program caddy || true)
if [[ -n $caddy ]]; then
	found caddy "$("$caddy" version | cut -d' ' -f1) ($caddy)"
else
	lack caddy 'Caddy 2.6 or newer, e.g. apt-get install caddy'
fi

etcd=$(program etcd || true)
if [[ -n $etcd ]]; then
	found etcd "$("$etcd" --version | sed -n 's/^etcd Version: //p') ($etcd)"
else
	echo '  not found etcd: bench-registry needs it, e.g. apt-get install etcd-server; no test does'
fi

root=$(sdk_root)
firestore=${root:+$(jar "$root" 'cloud-firestore-emulator/cloud-firestore-emulator.jar')}
pubsub=${root:+$(jar "$root" 'pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar')}
how='gcloud components install cloud-firestore-emulator pubsub-emulator, or the packages google-cloud-cli-{firestore,pubsub}-emulator'
if [[ -n $firestore ]]; then found 'Firestore emulator' "$firestore"; else lack 'Firestore emulator' "$how"; fi
if [[ -n $pubsub ]]; then found 'Pub/Sub emulator' "$pubsub"; else lack 'Pub/Sub emulator' "$how"; fi

if ((${#missing[@]})); then
	if [[ ${CI:-} == true ]]; then
		echo "deps: missing, and CI is true: ${missing[*]}" >&2
		exit 1
	fi
	echo "deps: NOTICE: without ${missing[*]} the tests that need it are skipped. The platform itself runs without."
fi
