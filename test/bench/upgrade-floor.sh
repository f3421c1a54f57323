#!/bin/sh
# The floor of an upgrade: what a careful engineer types to take one node that holds nothing but DaemonSets to another version,
# with the new bundle unpacked on the machine before. No checks, no gate beyond Ready, no way back. kubeadm refuses the lab's control
# groups of version 1 otherwise.
#
# usage: upgrade-floor.sh NODE LOGIN@ADDRESS VERSION    with KEY, KNOWN_HOSTS, KUBECONFIG (of the cluster) in the environment
set -eu
node=$1 login=$2 version=$3
on="ssh -o BatchMode=yes -o UserKnownHostsFile=$KNOWN_HOSTS -i $KEY $login"
case $login in root@*) sudo= ;; *) sudo=sudo ;; esac

kubectl cordon "$node" >/dev/null
kubectl drain "$node" --ignore-daemonsets --delete-emptydir-data >/dev/null 2>&1
$on $sudo sh -s <<'MACHINE'
set -eu
cd /tmp/bundle/release
./kubeadm upgrade node --ignore-preflight-errors=SystemVerification >/tmp/upgrade.log 2>&1 || { cat /tmp/upgrade.log >&2; exit 1; }
mv cni/bin/* /opt/cni/bin/
mv kubeadm kubelet kubectl containerd containerd-shim-runc-v2 ctr runc /usr/local/bin/
systemctl restart containerd
systemctl restart kubelet
MACHINE
kubectl wait --for=jsonpath='{.status.nodeInfo.kubeletVersion}'="$version" "node/$node" --timeout=120s >/dev/null
kubectl wait --for=condition=Ready "node/$node" --timeout=120s >/dev/null
kubectl uncordon "$node" >/dev/null
