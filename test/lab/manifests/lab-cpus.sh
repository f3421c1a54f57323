#!/bin/sh
# Shows kubelet $1 processors, of which it takes the number from here and from
# nowhere else. Programs still see and share those that there are.
set -eu
node=/run/lab/node
real=/sys/devices/system/node/node0
mkdir -p "$node/node0"
cp "$real/meminfo" "$real/distance" "$node/node0"
last=$(($1 - 1))
for cpu in $(seq 0 "$last"); do
    mkdir -p "$node/node0/cpu$cpu/topology"
    echo "$cpu" >"$node/node0/cpu$cpu/topology/core_id"
    echo 0 >"$node/node0/cpu$cpu/topology/physical_package_id"
done
echo "0-$last" >/run/lab/cpus-online
mount --bind "$node" /sys/devices/system/node
mount --bind /run/lab/cpus-online /sys/devices/system/cpu/online
