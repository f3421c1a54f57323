# Runs with `sh -eu` inside the machines' root file system.
useradd --create-home --shell /bin/bash ops
useradd --create-home --shell /bin/bash jump

# Every machine gets its own keys and identity when it is made.
rm -f /etc/ssh/ssh_host_*
: >/etc/machine-id
: >/etc/resolv.conf

# Nothing runs on a machine but what it is for; timers would disturb measurements.
systemctl mask \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    console-getty.service getty.target getty-pre.target systemd-logind.service dbus-org.freedesktop.login1.service \
    sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount systemd-resolved.service \
    modprobe@drm.service modprobe@fuse.service modprobe@efi_pstore.service modprobe@configfs.service
rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/*
