#!/usr/bin/env bash
# Shows the main job for real: clean machines become Ready nodes of a cluster, by one argo submit. Run it with `make demo`,
# as root, on a Debian machine. The first run builds Kubernetes, containerd and Argo, which takes a while; later ones don't.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

say "the lab: a host cluster with Argo, a cluster called team-a, and five clean machines"
go run ./test/lab/cmd/lab up
eval "$(go run ./test/lab/cmd/lab env)"
# shellcheck disable=SC2086 # a list of names
go run ./test/lab/cmd/lab reset $LAB_MACHINES
kubectl --kubeconfig "$TEAM_A_KUBECONFIG" delete node --ignore-not-found $LAB_MACHINES >/dev/null

say "install Argosy in namespace team-a, with the cluster's documents and Secrets"
go run ./test/site/cmd/site
bin/argosy doctor --namespace team-a

say "what would a join do?"
bin/argosy plan --namespace team-a --cluster team-a

say "argo submit --from workflowtemplate/join -p cluster=team-a"
argo submit -n team-a --from workflowtemplate/join -p cluster=team-a -p concurrency=3 --watch

say "the nodes of team-a"
kubectl --kubeconfig "$TEAM_A_KUBECONFIG" get nodes -o wide
kubectl --kubeconfig "$TEAM_A_KUBECONFIG" wait --for=condition=Ready node $LAB_MACHINES --timeout=10s >/dev/null
