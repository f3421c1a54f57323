#!/bin/sh
# The floor: what a careful engineer types to make one clean machine a node, with nothing that is not needed. It pushes the
# bundle, unpacks it, writes the units and containerd's configuration, starts containerd, imports the pause image, joins
# and waits for Ready. No checks, no resume, no rollback.
#
# usage: floor.sh NODE LOGIN@ADDRESS BUNDLE    with KEY, KNOWN_HOSTS, SERVER (host:port), KUBECONFIG (of the cluster) in the environment
set -eu
node=$1 login=$2 bundle=$3
on="ssh -o BatchMode=yes -o UserKnownHostsFile=$KNOWN_HOSTS -i $KEY $login"
case $login in root@*) sudo= ;; *) sudo=sudo ;; esac

token=$(kubeadm token create --ttl 15m)
ca=$(kubectl config view --raw -o 'jsonpath={.clusters[0].cluster.certificate-authority-data}' | base64 -d |
	openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | sha256sum | cut -d' ' -f1)

$on "$sudo mkdir -p /tmp/bundle && $sudo tar -xz -C /tmp/bundle" <"$bundle"
$on $sudo sh -s -- "$node" "$SERVER" "$token" "$ca" <<'MACHINE'
set -eu
cd /tmp/bundle/release
mkdir -p /opt/cni/bin /etc/containerd /etc/systemd/system/kubelet.service.d
mv cni/bin/* /opt/cni/bin/
mv kubeadm kubelet kubectl containerd containerd-shim-runc-v2 ctr runc /usr/local/bin/
pause=$(cat pause-image.txt)
cat >/etc/containerd/config.toml <<TOML
version = 3
imports = ["/etc/containerd/conf.d/*.toml"]
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "$pause"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    SystemdCgroup = false
TOML
cat >/etc/systemd/system/containerd.service <<UNIT
[Service]
ExecStart=/usr/local/bin/containerd
Type=notify
Delegate=yes
KillMode=process
Restart=always
LimitNOFILE=infinity
[Install]
WantedBy=multi-user.target
UNIT
cat >/etc/systemd/system/kubelet.service <<UNIT
[Service]
ExecStart=/usr/local/bin/kubelet
Restart=always
[Install]
WantedBy=multi-user.target
UNIT
cat >/etc/systemd/system/kubelet.service.d/10-kubeadm.conf <<'UNIT'
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
ExecStart=
ExecStart=/usr/local/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS
UNIT
echo 1 >/proc/sys/net/ipv4/ip_forward
systemctl daemon-reload
systemctl enable --quiet kubelet
systemctl enable --quiet --now containerd
ctr -n k8s.io images import pause-image.tar >/dev/null
kubeadm join "$2" --node-name "$1" --token "$3" --discovery-token-ca-cert-hash "sha256:$4" --ignore-preflight-errors=all >/tmp/join.log 2>&1
MACHINE
kubectl wait --for=create "node/$node" --timeout=60s >/dev/null
kubectl wait --for=condition=Ready "node/$node" --timeout=120s >/dev/null
kubeadm token delete "${token%%.*}" >/dev/null
