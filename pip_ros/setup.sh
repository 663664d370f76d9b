#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes a machine ready to run the workspace, and does nothing that is done already.
#   --quiet   say nothing when there is nothing to do
#   --test    also see to what only the tests need (Chromium)
# A sourced ROS 2 Jazzy installation is used as it is; without one, .venv plays its part.
set -euo pipefail
# Where it really lies: entered through a link it is the same checkout, with the same environment.
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."
quiet=0 test=0
for argument in "$@"; do
  case "$argument" in
    --quiet) quiet=1 ;;
    --test) test=1 ;;
    *) echo "setup.sh: unknown argument '$argument' (known: --quiet, --test)" >&2; exit 2 ;;
  esac
done
say() { printf '\033[1m%s\033[0m\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
case "$PWD" in
  *[[:space:]]*) fail "the path '$PWD' has a space, which the first line of a script cannot have; move the checkout" ;;
esac

# ---- what the operating system has to carry ---------------------------------------------------------------------
missing=()
command -v g++ >/dev/null || missing+=(g++)
command -v make >/dev/null || missing+=(make)
command -v cmake >/dev/null || missing+=(cmake)
python=${HIWM_PYTHON:-}
if [ -z "$python" ]; then
  for candidate in python3 python3.11 python3.12; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))'; then
      python=$(command -v "$candidate"); break
    fi
  done
fi
[ -n "$python" ] || fail "Python 3.11 or 3.12 is needed and was not found; set HIWM_PYTHON to one"
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
[ -f "$include/Python.h" ] || missing+=(python3-dev)
if [ -n "${AMENT_PREFIX_PATH:-}" ] && [ -z "${HIWM_PIP_ROS:-}" ]; then native=1; else native=0; fi
[ $native = 1 ] || "$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ $test = 1 ] && ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null && ! command -v google-chrome >/dev/null; then
  if grep -qs '^ID=ubuntu' /etc/os-release; then
    fail "the tests need a browser, which Ubuntu has as a snap only; run: sudo snap install chromium (or install Google Chrome's package)"
  fi
  missing+=(chromium)
fi
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "Installing what the operating system lacks: ${missing[*]}"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
  else
    fail "the operating system lacks ${missing[*]}; run: sudo apt-get install -y ${missing[*]}"
  fi
fi

# ---- Python packages --------------------------------------------------------------------------------------------
if [ $native = 1 ]; then
  [ "${ROS_DISTRO:-}" = jazzy ] || fail "a ROS installation is sourced that is not Jazzy (ROS_DISTRO=${ROS_DISTRO:-unset}); source /opt/ros/jazzy/setup.bash instead"
  lacking=$("$python" pip_ros/native_packages.py) || fail "this ROS 2 installation lacks packages; run: $lacking"
else
  venv=$PWD/.venv
  wanted=$({ cat pip_ros/requirements.txt pip_ros/torch.txt pip_ros/setup.sh pip_ros/adapt_environment.py; echo "$venv"; } | sha256sum | cut -d' ' -f1)
  if [ "$(cat "$venv/.complete" 2>/dev/null)" != "$wanted" ]; then
    say "Setting up .venv (1.3 GB, with CUDA several more; later starts skip this)"
    # Scripts in it begin with its path: one that was moved or copied would run another's Python.
    made_at=$(sed -n 's/^command = .* -m venv //p' "$venv/pyvenv.cfg" 2>/dev/null || true)
    [ -z "$made_at" ] || [ "$made_at" = "$venv" ] || rm -rf "$venv"
    if [ ! -x "$venv/bin/python" ]; then
      rm -rf "$venv"
      "$python" -m venv "$venv"
    fi
    touch "$venv/COLCON_IGNORE"
    rm -f "$venv/.complete"
    # The guard keeps the wheels' bootstrap from re-executing pip while half of them are installed.
    export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
    # A download that breaks is tried again, and what was fetched before is not fetched twice.
    for attempt in 1 2 3; do
      if "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar on --retries 10 --no-deps -r pip_ros/requirements.txt \
        | { if [ $quiet = 1 ]; then { grep --line-buffered -E '^(Collecting|ERROR)' || true; } | awk '{printf "\r  %d packages", NR; fflush()} END {if (NR) print ""}'; else cat; fi; } \
        && "$venv/bin/python" -m pip install --disable-pip-version-check --retries 10 ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -r pip_ros/torch.txt | { grep -E '^(Collecting|Successfully)' || true; }; then
        installed=1; break
      fi
      say "The download broke off (attempt $attempt of 3); going on from there"
      sleep $((attempt * 2))
    done
    [ "${installed:-0}" = 1 ] || fail "the Python packages could not be fetched; check the network and run the same command again"
    "$venv/bin/python" pip_ros/adapt_environment.py
    echo "$wanted" > "$venv/.complete.tmp" && mv "$venv/.complete.tmp" "$venv/.complete"
  fi
fi

# ---- the workspace ----------------------------------------------------------------------------------------------
# What another Python built, of a ROS installation or of .venv, would run there.
builder="$native $( [ $native = 1 ] && echo "$python" || echo "$venv" )"
if [ "$(cat install/.builder 2>/dev/null || echo "$builder")" != "$builder" ]; then
  rm -rf build install
fi
# With symlinked installs only a changed interface, manifest or list of files asks for a new build.
stamp=$( { find src \( -path '*/msg/*' -o -path '*/srv/*' -o -path '*/action/*' -o -name package.xml -o -name setup.py -o -name setup.cfg -o -name CMakeLists.txt \) -type f -print0 | sort -z | xargs -0 sha256sum; find src -type f \( -path '*/launch/*' -o -path '*/config/*' -o -path '*/models/*' -o -path '*/resource/*' -o -path '*/web/*' -o -path '*/tasks/*' \) ! -name '*.pyc' | sort; pwd; } | sha256sum | cut -d' ' -f1)
if [ "$(cat install/.complete 2>/dev/null)" != "$stamp" ]; then
  say "Building the workspace"
  rm -f install/.complete
  mkdir -p log
  if ! (
    if [ $native = 0 ]; then
      mkdir -p install
      mv install/local_setup.bash install/local_setup.bash.old 2>/dev/null || true
      # shellcheck disable=SC1091
      source env.bash
    fi
    colcon build --base-paths src --symlink-install --event-handlers console_cohesion- status- desktop_notification- \
      --cmake-args -DBUILD_TESTING=OFF "-DPython3_EXECUTABLE=$(command -v python3)" --no-warn-unused-cli
  ) > log/setup_build.log 2>&1; then
    tail -n 40 log/setup_build.log >&2
    fail "the workspace did not build; the whole log is log/setup_build.log"
  fi
  echo "$builder" > install/.builder
  echo "$stamp" > install/.complete
  say "Ready"
elif [ $quiet = 0 ]; then
  say "Ready: nothing to do"
fi
