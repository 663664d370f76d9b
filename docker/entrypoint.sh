#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes ROS 2 and the workspace known to a command, and becomes it. Both set-up files use variables that are not set.
set -eo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for setup in "${ROS_SETUP:-/opt/ros/jazzy/setup.bash}" "${WORKSPACE_SETUP:-$here/install/local_setup.bash}"; do
  if [ ! -r "$setup" ]; then
    echo "entrypoint: there is no $setup; this image was not built to its end" >&2
    exit 1
  fi
  # shellcheck disable=SC1090
  source "$setup"
done
# Nothing is published beyond this machine unless somebody says so.
export ROS_AUTOMATIC_DISCOVERY_RANGE="${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"
export RMW_IMPLEMENTATION="${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp}"
exec "$@"
