#!/bin/sh
# Makes a container look to kubelet like a machine. Runs once, early in boot.
set -eu

# systemd-nspawn mounts the controllers of cgroup version 1 read-only.
for controller in /sys/fs/cgroup/*; do
    if [ "$(stat -f -c %T "$controller" 2>/dev/null)" = cgroupfs ]; then
        mount -o remount,rw,bind "$controller" || true
    fi
done

# Whole-kernel settings are read-only here, and kubelet wants these values.
mkdir -p /run/lab/sysctl
pin() {
    printf '%s\n' "$2" >"/run/lab/sysctl/$1"
    mount --bind "/run/lab/sysctl/$1" "/proc/sys/$(echo "$1" | tr . /)"
}
pin vm.overcommit_memory 1
pin vm.panic_on_oom 0
pin kernel.panic 10
pin kernel.panic_on_oops 1

# There is no kernel log for a container; kubelet only needs to open it.
[ -e /dev/kmsg ] || ln -s /dev/null /dev/kmsg

# All modules are in the kernel or out of reach, but every machine has the folder,
# and pods like kube-proxy's mount it.
mkdir -p "/lib/modules/$(uname -r)"

# kubelet, containerd and CNI share mounts with the pods' namespaces.
mount --make-rshared /
