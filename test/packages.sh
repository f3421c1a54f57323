#!/bin/sh
# Makes sure that the Debian packages are there that a make target needs, before anything is compiled:
#
#     test/packages.sh test    the unit tests
#     test/packages.sh lab     the lab, and with it make demo, e2e and bench
#     test/packages.sh vm      the lab's virtual machines
#     test/packages.sh docs    the documentation as a site
#     test/packages.sh browser the tests that look at pages
#     test/packages.sh argo-pages  the tests that look at Argo's UI, and what its pages are built with
#     test/packages.sh NAME    a package by its own name
#
# As root on Debian it installs the missing ones, and starts none of their services. Otherwise it names them in one line
# and fails. Where there are no Debian packages, it looks for the programs.
set -eu
PATH=$PATH:/usr/sbin:/sbin

test="e2fsprogs iproute2 iptables mount openssh-client openssh-server procps sudo tcsh util-linux"
lab="debootstrap e2fsprogs gcc iproute2 iptables libc6-dev libseccomp-dev openssh-client openssl pkg-config systemd-container util-linux"

case "${1-}" in
test)
	wanted=$test
	programs="ip iptables mkfs.ext4 mount ps ssh sshd sudo tcsh unshare"
	;;
lab)
	wanted=$lab
	programs="debootstrap gcc ip iptables mkfs.ext4 mount openssl pkg-config ssh systemd-nspawn unshare"
	;;
vm)
	wanted="e2fsprogs debootstrap qemu-system-x86 qemu-utils"
	programs="debootstrap mkfs.ext4 qemu-img qemu-system-x86_64"
	;;
docs)
	wanted="mkdocs mkdocs-literate-nav mkdocs-material"
	programs=mkdocs
	;;
browser)
	wanted="chromium fonts-dejavu-core"
	programs=chromium
	;;
argo-pages)
	wanted="chromium fonts-dejavu-core nodejs"
	# A Node.js that is not Debian's has npm inside, and Debian's npm does not go with it.
	command -v npm >/dev/null || wanted="$wanted npm"
	programs="chromium node npm"
	;;
"")
	echo "usage: test/packages.sh test|lab|vm|docs|browser|argo-pages|NAME..." >&2
	exit 2
	;;
*) wanted=$* programs=$* ;;
esac

if ! command -v dpkg-query >/dev/null; then
	lacking=
	for program in $programs; do
		command -v "$program" >/dev/null || lacking="$lacking $program"
	done
	[ -n "$lacking" ] || exit 0
	echo "this is no Debian, and programs are missing; install those of$lacking (Debian packages: $wanted)" >&2
	exit 1
fi
missing=
for package in $wanted; do
	dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
	echo "Debian packages are missing; install them with: sudo apt-get install$missing" >&2
	exit 1
fi
echo "installing Debian packages$missing"
export DEBIAN_FRONTEND=noninteractive
# An sshd that nobody asked for must not run: Debian asks this program before it starts a service.
policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d}
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	trap 'exit 1' INT TERM
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
# The lists may be absent, or too old for the mirror.
install() {
	# Another apt may be at work: a second make, unattended upgrades.
	apt-get install --option DPkg::Lock::Timeout=600 --quiet --quiet --yes --no-install-recommends $missing
}
install >/dev/null 2>&1 || {
	apt-get update --quiet --quiet
	install
}
