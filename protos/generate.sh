#!/usr/bin/env bash
# Generates Python from the contract: protos/generate.sh TARGET. Proto path == package == Python path, so nothing is rewritten.
set -euo pipefail
target=$1
cd "$(dirname "$0")/.."
.venv/bin/python -m grpc_tools.protoc -I protos \
  --python_out="$target" --pyi_out="$target" --grpc_python_out="$target" protos/tanager/v1/*.proto
