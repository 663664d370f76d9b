#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes .venv-lerobot, in which LeRobot's own library writes, reads and trains on data sets.
# It is an environment of its own because LeRobot pins versions that the workspace does not have.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
fail() { printf 'lerobot: %s\n' "$*" >&2; exit 1; }

python=${HIWM_PYTHON:-}
if [ -z "$python" ]; then
  for candidate in python3 python3.11 python3.12; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))'; then
      python=$(command -v "$candidate"); break
    fi
  done
fi
[ -n "$python" ] || fail "Python 3.11 or 3.12 is needed and was not found; set HIWM_PYTHON to one"

venv=$PWD/.venv-lerobot
wanted=$(cat pip_ros/lerobot.txt pip_ros/setup_lerobot.sh | sha256sum | cut -d' ' -f1)
if [ "$(cat "$venv/.complete" 2>/dev/null)" = "$wanted" ]; then
  echo "lerobot: nothing to do"
  exit 0
fi
echo "Setting up .venv-lerobot (several GB where the index offers CUDA's build of torch)"
# What a sourced workspace sets must not reach into this environment.
unset PYTHONPATH LD_LIBRARY_PATH
export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
[ -x "$venv/bin/python" ] || { rm -rf "$venv"; "$python" -m venv "$venv"; }
touch "$venv/COLCON_IGNORE"
rm -f "$venv/.complete"
"$venv/bin/python" -m pip install --disable-pip-version-check --retries 10 -r pip_ros/lerobot.txt \
  | { grep -E '^(Collecting|Successfully)' || true; } \
  || fail "the Python packages could not be fetched; check the network and run the same command again"
"$venv/bin/python" -c 'import lerobot.datasets.lerobot_dataset' || fail "LeRobot cannot be imported in $venv"
echo "$wanted" > "$venv/.complete.tmp" && mv "$venv/.complete.tmp" "$venv/.complete"
echo "Ready"
