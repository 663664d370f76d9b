#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Static checks of every Python file: ruff (lint and format) and mypy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python3 -m ruff check .
python3 -m ruff format --check --quiet . || { echo "check: files above are not formatted; run: ruff format ." >&2; exit 1; }
python3 -m mypy --no-error-summary src/hiwm_*/hiwm_* bench pip_ros/{launch,launch_ros,ros2cli,rosbag2_py,cv_bridge}
