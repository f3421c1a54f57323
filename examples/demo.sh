#!/usr/bin/env bash
# Shows the main job for real: one argo submit provisions a control plane, another one joins three clean machines to it, and
# pods answer through a Service. Run it with `make demo`, as root, on a Debian machine. The first run takes Kubernetes,
# containerd and Argo from their official releases, verified by checksum, and compiles what it cannot get; later ones find
# all of it in the cache. ARGOSY_LAB_PROGRAMS=compiled compiles everything.
set -euo pipefail
cd "$(dirname "$0")/.."

cluster=team-b
machines=(m1 m2 m3)
steps=7
number=0
beat=

# step TITLE begins a step. Until the next one, a line every ten seconds shows that the demo is at work.
step() {
	number=$((number + 1))
	quiet
	printf '\n\033[1m== [%d/%d] %s\033[0m\n' "$number" "$steps" "$1"
	beats "[$number/$steps]"
}

# beats NAME prints a line about NAME every ten seconds, until quiet. It is no job of this shell, which would report its end.
beats() {
	beat=$({
		while sleep 10 >/dev/null 2>&1; do printf '   … %s at work, %d s\n' "$1" "$SECONDS"; done
	} >&2 & echo $!)
}

# quiet ends those lines.
quiet() {
	[ -z "$beat" ] || kill "$beat" 2>/dev/null || true
	beat=
}
trap quiet EXIT

# show COMMAND... prints a command and runs it. Its own output is the progress.
show() {
	quiet
	printf '$ %s\n' "$*"
	"$@"
}

# The lab is for one at a time. This script runs again below the process that claims it, or ends with the name of who has it.
if [ -z "${ARGOSY_DEMO_CLAIMED-}" ]; then
	echo "compiling the lab's own program; the first time, Go fetches its modules"
	beats "the lab's program"
	go build -o /dev/null ./test/lab/cmd/lab
	quiet
	echo "claiming the lab"
	ARGOSY_DEMO_CLAIMED=yes exec go run ./test/lab/cmd/lab claim "make demo" examples/demo.sh
fi
export ARGOSY_LAB_PROGRAMS=${ARGOSY_LAB_PROGRAMS:-official}

step "compile Argosy and its image"
make build image

step "the lab: a host cluster with Argo and three machines, without Kubernetes and containerd"
go run ./test/lab/cmd/lab up --hosted-only
eval "$(go run ./test/lab/cmd/lab env)"
kubectl delete namespace "$cluster" --ignore-not-found --timeout=120s # of an earlier demo
go run ./test/lab/cmd/lab reset --bare "${machines[@]}"

step "install Argosy in namespace $cluster, with the cluster's documents and Secrets"
go run ./test/site/cmd/site "$cluster" "${machines[@]}"
show bin/argosy doctor --namespace "$cluster"

step "provision the control plane"
show argo submit -n "$cluster" --from workflowtemplate/provision -p "cluster=$cluster" --watch
kubeconfig=$LAB_DIR/$cluster.kubeconfig
(umask 077 && kubectl get secret -n "$cluster" "$cluster-kubeconfig" \
	-o 'go-template={{index .data "value" | base64decode}}' >"$kubeconfig")
team() { kubectl --kubeconfig "$kubeconfig" "$@"; }

step "join ${#machines[@]} machines to it"
show argo submit -n "$cluster" --from workflowtemplate/join -p "cluster=$cluster" --watch

step "a pod on each machine, and a Service in front of them"
team apply -f - <<'YAML'
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - {name: web, image: "10.117.0.1:5000/web:v1", args: [serve]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
YAML
team rollout status daemonset/web --timeout=180s
for machine in "${machines[@]}"; do
	pod=$(team get pods -l app=web --field-selector "spec.nodeName=$machine" -o 'jsonpath={.items[0].metadata.name}')
	# The name of the Service and its address take a moment to reach every machine.
	for attempt in $(seq 30); do
		answer=$(team exec "$pod" -- /web get http://web/ 2>/dev/null) && break
		[ "$attempt" -lt 30 ] || { echo "no answer from http://web/ on $machine" >&2; exit 1; }
		sleep 1
	done
	printf 'http://web/ from %s: answered by %s\n' "$machine" "$answer"
done

step "the nodes of $cluster"
show kubectl --kubeconfig "$kubeconfig" get nodes -o wide
team wait --for=condition=Ready node "${machines[@]}" --timeout=10s >/dev/null
printf '\n\033[1m== done in %d s\033[0m\n' "$SECONDS"
