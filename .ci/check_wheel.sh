#!/usr/bin/env bash
# Install the wheel of dist/ into a clean environment and run its demo from a folder outside the checkout.
# Usage: check_wheel.sh FOLDER
set -euo pipefail
checkout=$(cd "$(dirname "$0")/.." && pwd)
folder=$(cd "$1" && pwd)

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$checkout"/dist/*.whl
mkdir -p "$folder/elsewhere"
cd "$folder/elsewhere"
unset PYTHONPATH
"$folder/venv/bin/mm-hybrid" --version
"$folder/venv/bin/mm-hybrid" demo --seconds 5 --json >demo.json
"$folder/venv/bin/python" "$checkout/.ci/check_demo.py" demo.json
