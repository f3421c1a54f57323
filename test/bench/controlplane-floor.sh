#!/bin/bash
# The floor: what a careful engineer types to have one control plane on a machine, with nothing that is not needed: kine
# with SQLite, kube-apiserver, kube-controller-manager, kube-scheduler and konnectivity-server as plain processes, with the
# flags and keys that ours have. openssl makes the certificates. No pods, no Service, no volume, no probes; the bundle
# server is left out as well, since the API server does not wait for it.
#
# It runs until its standard input ends, and leaves nothing behind. It ends early, and badly, when one of them does.
#
# usage: controlplane-floor.sh FOLDER PROGRAMS ADDRESS PORT    FOLDER is made, and removed at the end
set -euo pipefail
folder=$1 programs=$2 address=$3 port=$4
server=https://127.0.0.1:$port
serviceAddress=10.128.0.1
mkdir "$folder"
cd "$folder"
exec 3<&0
declare -A started # process numbers, and what they are
finish() {
	{ kill -KILL "${!started[@]}" || true; wait || true; } 2>/dev/null
	cd / && rm -rf "$folder"
}
trap finish EXIT

run() { # NAME ARGUMENTS...
	"$programs/$1" "${@:2}" >"$1.log" 2>&1 </dev/null &
	started[$!]=$1
}

certificate() { # NAME SUBJECT ARGUMENTS...
	openssl req -config openssl.cnf -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
		-subj "$2" -keyout "$1.key" -out "$1.crt" "${@:3}" 2>openssl.log || { cat openssl.log >&2; exit 1; }
}

authority() { # NAME COMMON-NAME
	certificate "$1" "/CN=$2" -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,digitalSignature
}

client() { # NAME SUBJECT AUTHORITY
	certificate "$1" "$2" -CA "$3.crt" -CAkey "$3.key" -addext extendedKeyUsage=clientAuth
}

kubeconfig() { # NAME USER
	client "$1" "/CN=$2" ca
	cat >"$1.conf" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: floor, cluster: {server: "$server", certificate-authority: ca.crt}}]
users: [{name: "$2", user: {client-certificate: $1.crt, client-key: $1.key}}]
contexts: [{name: floor, context: {cluster: floor, user: "$2"}}]
current-context: floor
YAML
}

# It needs no certificate, so it comes up while they are made.
KINE_ENDPOINT="sqlite://$folder/state.db?_journal=WAL&cache=shared&_busy_timeout=30000&_txlock=immediate&_kine_disable_startup_vacuum=true" \
	run kine "--listen-address=unix://$folder/kine.sock" --metrics-bind-address=0

printf '[req]\ndistinguished_name=name\n[name]\n' >openssl.cnf
authority ca kubernetes
authority front-proxy-ca front-proxy-ca
certificate apiserver /CN=kube-apiserver -CA ca.crt -CAkey ca.key -addext extendedKeyUsage=serverAuth \
	-addext "subjectAltName=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:$serviceAddress,IP:$address"
client apiserver-kubelet-client /O=kubeadm:cluster-admins/CN=kube-apiserver-kubelet-client ca
client front-proxy-client /CN=front-proxy-client front-proxy-ca
kubeconfig controller-manager system:kube-controller-manager
kubeconfig scheduler system:kube-scheduler
kubeconfig konnectivity-server system:konnectivity-server
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out sa.key
openssl pkey -in sa.key -pubout -out sa.pub
cat >egress.yaml <<YAML
apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
  - name: cluster
    connection: {proxyProtocol: GRPC, transport: {uds: {udsName: $folder/konnectivity.sock}}}
YAML

until [ -S kine.sock ]; do
	kill -0 "${!started[@]}" 2>/dev/null || { tail -n 5 kine.log >&2; exit 1; }
	sleep 0.01
done
run kube-apiserver \
	--advertise-address="$address" \
	--allow-privileged=true \
	--authorization-mode=Node,RBAC \
	--bind-address=0.0.0.0 \
	--client-ca-file=ca.crt \
	--egress-selector-config-file=egress.yaml \
	--enable-admission-plugins=NodeRestriction \
	--enable-bootstrap-token-auth=true \
	--endpoint-reconciler-type=none \
	--etcd-servers="unix://$folder/kine.sock" \
	--kubelet-client-certificate=apiserver-kubelet-client.crt \
	--kubelet-client-key=apiserver-kubelet-client.key \
	--kubelet-preferred-address-types=InternalIP,InternalDNS,Hostname,ExternalIP,ExternalDNS \
	--profiling=false \
	--proxy-client-cert-file=front-proxy-client.crt \
	--proxy-client-key-file=front-proxy-client.key \
	--requestheader-allowed-names=front-proxy-client \
	--requestheader-client-ca-file=front-proxy-ca.crt \
	--requestheader-extra-headers-prefix=X-Remote-Extra- \
	--requestheader-group-headers=X-Remote-Group \
	--requestheader-username-headers=X-Remote-User \
	--secure-port="$port" \
	--service-account-issuer=https://kubernetes.default.svc.cluster.local \
	--service-account-key-file=sa.pub \
	--service-account-signing-key-file=sa.key \
	--service-cluster-ip-range=10.128.0.0/16 \
	--shutdown-delay-duration=3s \
	--tls-cert-file=apiserver.crt \
	--tls-private-key-file=apiserver.key
run kube-controller-manager \
	--allocate-node-cidrs=true \
	--authentication-kubeconfig=controller-manager.conf \
	--authorization-kubeconfig=controller-manager.conf \
	--bind-address=0.0.0.0 \
	--client-ca-file=ca.crt \
	--cluster-cidr=10.64.0.0/16 \
	--cluster-name=floor \
	--cluster-signing-cert-file=ca.crt \
	--cluster-signing-key-file=ca.key \
	--controllers='*,bootstrapsigner,tokencleaner' \
	--kubeconfig=controller-manager.conf \
	--leader-elect=true \
	--profiling=false \
	--requestheader-client-ca-file=front-proxy-ca.crt \
	--root-ca-file=ca.crt \
	--secure-port=$((port + 1)) \
	--service-account-private-key-file=sa.key \
	--service-cluster-ip-range=10.128.0.0/16 \
	--use-service-account-credentials=true
run kube-scheduler \
	--authentication-kubeconfig=scheduler.conf \
	--authorization-kubeconfig=scheduler.conf \
	--bind-address=0.0.0.0 \
	--kubeconfig=scheduler.conf \
	--leader-elect=true \
	--profiling=false \
	--secure-port=$((port + 2))
run konnectivity-server \
	--admin-bind-address=127.0.0.1 \
	--admin-port=$((port + 3)) \
	--agent-namespace=kube-system \
	--agent-port=$((port + 4)) \
	--agent-service-account=konnectivity-agent \
	--authentication-audience=system:konnectivity-server \
	--cluster-cert=apiserver.crt \
	--cluster-key=apiserver.key \
	--delete-existing-uds-file \
	--health-port=$((port + 5)) \
	--kubeconfig=konnectivity-server.conf \
	--logtostderr=true \
	--mode=grpc \
	--server-count=1 \
	--server-port=0 \
	--uds-name="$folder/konnectivity.sock"

cat <&3 >/dev/null &
input=$!
started[$input]=input
wait -n -p ended "${!started[@]}" || true
if [ "$ended" != "$input" ]; then
	echo "${started[$ended]} ended:" >&2
	tail -n 5 "${started[$ended]}.log" >&2
	exit 1
fi
