# Runs with `sh -eu` inside the root file system of a suite's virtual machine.

# Every machine gets its own keys and identity when it is made.
rm -f /etc/ssh/ssh_host_*
: >/etc/machine-id
rm -f /etc/resolv.conf

printf '/dev/vda / ext4 errors=remount-ro 0 1\n' >/etc/fstab
systemctl enable --quiet systemd-networkd.service ssh.service

# Nothing runs on a machine but what it is for; timers would disturb measurements.
systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    systemd-networkd-wait-online.service
rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/*
