#!/usr/bin/env bash
# The contract is well-formed, breaks nothing that was released, and the checked-in code is what it generates.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/buf lint
.venv/bin/buf format --diff --exit-code
# protos/released.binpb is the contract as last released: `buf build -o protos/released.binpb` at each release.
.venv/bin/buf breaking --against protos/released.binpb
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
protos/generate.sh "$fresh"
cp client/tanager/v1/__init__.py "$fresh/tanager/v1/"
diff -r -u --exclude=__pycache__ "$fresh/tanager/v1" client/tanager/v1 || {
  echo "client/tanager/v1 is stale: run 'make proto' and commit the result" >&2
  exit 1
}
echo "contract: lint, compatibility and generated code are in order"
