#!/usr/bin/env bash
# Runs `make test` on a fresh Debian that has nothing but Go, make, git and certificates:
#
#     test/bare.sh            as root, on Debian
#
# The machine is a debootstrap of the variant minbase, kept in the user's cache; each run works on an overlay of its own,
# which is thrown away. The checkout and Go's caches are shown to it at their own paths, so nothing is compiled twice.
# Tests are run even where an earlier run's results are cached: Go does not see which programs a machine has.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "test/bare.sh mounts file systems: run it as root" >&2; exit 1; }

suite=bookworm
include=make,git,ca-certificates
cache=${ARGOSY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/argosy}/bare
base=$cache/$suite-$(sha256sum <<<"$suite $include" | cut -c1-16)

command -v debootstrap >/dev/null || { apt-get update -qq && apt-get install -qq --yes --no-install-recommends debootstrap >/dev/null; }

# The mirror is the one that apt uses here; apt names none before it has read its lists once.
mirror() {
	apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
		awk -v suite=$suite '$1 == suite && $2 == "main" { print $3; exit }'
}
mkdir -p "$cache"
# One run makes the machine, others wait for it.
exec {making}>"$cache/lock"
flock "$making"
if [ ! -d "$base" ]; then
	[ -n "$(mirror)" ] || apt-get update -qq
	echo "making a bare Debian $suite in $base"
	rm -rf "$base.partial"
	# In a namespace of their own, debootstrap's mounts end with it, also when it is killed.
	unshare --mount debootstrap --variant=minbase --include=$include $suite "$base.partial" "$(mirror)" >"$cache/debootstrap.log" || {
		tail -n 20 "$cache/debootstrap.log" >&2
		exit 1
	}
	mv "$base.partial" "$base"
fi
# What a run left that was killed. One that goes on holds a lock on its folder.
for old in "$cache"/run.*; do
	[ ! -d "$old" ] || flock --nonblock "$old" rm -rf "$old" || true
done
work=$(mktemp -d "$cache/run.XXXXXX")
exec {running}<"$work"
flock "$running"
exec {making}>&-
trap 'rm -rf "$work"' EXIT
mkdir "$work/upper" "$work/work" "$work/root"

# Go, its settings and its caches are this machine's.
goroot=$(go env GOROOT) modules=$(go env GOMODCACHE) compiled=$(go env GOCACHE)
settings=("GOFLAGS=$(go env GOFLAGS) -count=1")
for name in GOPROXY GOSUMDB GONOSUMDB GOPRIVATE GOTOOLCHAIN; do
	value=$(go env "$name")
	[ -z "$value" ] || settings+=("$name=$value")
done
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
	[ -z "${!name-}" ] || settings+=("$name=${!name}")
done
mkdir -p "$modules" "$compiled"

# The mounts are in a namespace of their own, and go with it.
run() {
	local root=$work/root
	# An overlay cannot lie on another one, as in a container.
	mount -t overlay overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/work" "$root" ||
		cp -a "$base/." "$root/"
	for folder in "$PWD" "$goroot" "$modules" "$compiled" /dev /sys; do
		mkdir -p "$root$folder"
		mount --rbind "$folder" "$root$folder"
	done
	mount -t proc proc "$root/proc"
	mount -t tmpfs tmpfs "$root/run"
	# How this machine reaches its package mirrors: names, certificates, proxies.
	cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
	cp -L --remove-destination /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
	cp -r /etc/apt/apt.conf.d "$root/etc/apt/"
	chroot "$root" env -i HOME=/root PATH="$goroot/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
		GOMODCACHE="$modules" GOCACHE="$compiled" "${settings[@]}" make -C "$PWD" test
}
export -f run
export work base goroot modules compiled
# Functions travel to the new shell, arrays do not.
settings_text=$(declare -p settings)
export settings_text
unshare --mount --pid --fork --kill-child bash -euo pipefail -c 'eval "$settings_text"; run'
