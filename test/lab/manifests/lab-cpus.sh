#!/bin/sh
# Shows kubelet $1 processors, of which it takes the number from here and from
# nowhere else. It takes the names for numbers and wants only such as there are:
# with two real ones, cpu0, cpu1, cpu00, cpu01, cpu000 and so on are sixteen.
# Programs still see and share those that there are.
set -eu
shown=/run/lab/node
system=/sys/devices/system
real=$(ls -d "$system"/cpu/cpu[0-9]* | wc -l)
mkdir -p "$shown/node0"
cp "$system/node/node0/meminfo" "$system/node/node0/distance" "$shown/node0"
zeros=
for core in $(seq 0 $(($1 - 1))); do
    topology="$shown/node0/cpu$zeros$((core % real))/topology"
    mkdir -p "$topology"
    echo "$core" >"$topology/core_id"
    echo 0 >"$topology/physical_package_id"
    [ $((core % real)) -lt $((real - 1)) ] || zeros=0$zeros
done
mount --bind "$shown" "$system/node"
