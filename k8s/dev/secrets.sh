#!/bin/sh
# Makes namespace and Secrets of a development cluster, once. The chart uses Secrets that are there already as they are; its
# own would be made anew each time that Tilt renders it, since no release is installed.
set -eu
cd "$(dirname "$0")/../.."
namespace=$1 release=$2
kubectl apply -f k8s/base/namespace.yaml >/dev/null
[ -z "$(kubectl -n "$namespace" get secret "$release-secret" --ignore-not-found -o name)" ] || exit 0
helm template "$release" charts/quicprochat --namespace "$namespace" --values k8s/dev/values.yaml \
    --set secrets.generate=always --show-only templates/secrets.yaml |
    kubectl -n "$namespace" create -f - >/dev/null
