# SPDX-License-Identifier: Apache-2.0
# Source this file to use the workspace: `source env.bash`. It works in both worlds:
#  - a ROS 2 Jazzy installation is sourced: it is used as it is, and only the workspace is laid over it;
#  - no ROS: the environment that `make setup` made in .venv plays its part.
_hiwm_root=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd)

if [ -n "${AMENT_PREFIX_PATH:-}" ] && [ -z "${HIWM_PIP_ROS:-}" ]; then
  if [ "${ROS_DISTRO:-}" != jazzy ]; then
    echo "env.bash: a ROS installation other than Jazzy is sourced (ROS_DISTRO=${ROS_DISTRO:-unset}); start from a shell without it, or source /opt/ros/jazzy/setup.bash" >&2
    return 1 2>/dev/null || exit 1
  fi
else
  if [ ! -x "$_hiwm_root/.venv/bin/python" ]; then
    echo "env.bash: the environment is not there yet; run 'make setup' in $_hiwm_root first" >&2
    return 1 2>/dev/null || exit 1
  fi
  export HIWM_PIP_ROS="$_hiwm_root/.venv"
  _hiwm_site=$("$HIWM_PIP_ROS/bin/python" -S -c 'import sysconfig; print(sysconfig.get_path("purelib", vars={"base": "'"$HIWM_PIP_ROS"'"}))')
  # The wheels re-execute Python once to set these two; setting them here saves the second start.
  export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
  for _hiwm_dir in "$HIWM_PIP_ROS/lib" "$_hiwm_site"/ros_*.libs; do
    case ":${LD_LIBRARY_PATH:-}:" in *":$_hiwm_dir:"*) ;; *) LD_LIBRARY_PATH="$_hiwm_dir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" ;; esac
  done
  export LD_LIBRARY_PATH
  case ":$PATH:" in *":$HIWM_PIP_ROS/bin:"*) ;; *) export PATH="$HIWM_PIP_ROS/bin:$PATH" ;; esac
  case ":${AMENT_PREFIX_PATH:-}:" in *":$HIWM_PIP_ROS:"*) ;; *) export AMENT_PREFIX_PATH="$HIWM_PIP_ROS${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}" ;; esac
  case ":${CMAKE_PREFIX_PATH:-}:" in *":$HIWM_PIP_ROS:"*) ;; *) export CMAKE_PREFIX_PATH="$HIWM_PIP_ROS${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}" ;; esac
  export ROS_VERSION=2 ROS_PYTHON_VERSION=3 ROS_DISTRO=jazzy
fi

# One machine is the default reach; a lab that spans several sets its own range before sourcing.
export ROS_AUTOMATIC_DISCOVERY_RANGE="${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"
# The default transport loses images above 64 kB; see the comment in the profile.
export FASTRTPS_DEFAULT_PROFILES_FILE="${FASTRTPS_DEFAULT_PROFILES_FILE:-$_hiwm_root/src/hiwm_bringup/config/fastdds.xml}"
export RMW_IMPLEMENTATION="${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp}"
export PYTHONUNBUFFERED=1
# shellcheck disable=SC1091
[ -f "$_hiwm_root/install/local_setup.bash" ] && source "$_hiwm_root/install/local_setup.bash"
unset _hiwm_root _hiwm_site _hiwm_dir
