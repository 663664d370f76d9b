#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The test suite. As with colcon's `--retest-until-pass 1`, a few failed tests are retried once, by
# themselves: many drive real processes over a real network, where a machine that stalls for seconds
# looks like a fault. What passes only then is named at the end. A test that fails twice fails, and so
# does one that only computes: a busy machine changes nothing in it.
#
# Most tests wait for processes most of the time, so the suite runs in lanes beside each other: whole
# sessions, nodes, and, at a low priority, what only computes, which takes the time that the others
# leave. Each lane has a ROS domain of its own. With arguments there is one run of what they name.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly MOST_FAILED=10
readonly SOME_FAILED=1 # pytest's exit code
readonly SESSIONS=(test)
readonly COMPUTING=(src/hiwm_core src/hiwm_policy src/hiwm_world_model)
# A new package's tests are among these until it is named above.
readonly NODES=(pip_ros/test src "${COMPUTING[@]/#/--ignore=}")

# pytest with a cache of that name, which knows what failed in this run and in no other.
cached() {
  python3 -m pytest -o cache_dir=".pytest_cache/$1" "${@:2}"
}

# The tests that failed in the run of that name.
failed_of() {
  cached "$@" --last-failed --last-failed-no-failures none --collect-only 2>/dev/null | grep '::'
}

# Once more what failed, if it is not much; returns the exit code of it all.
again() {
  local status=$1 failed count
  shift
  [ "$status" -eq "$SOME_FAILED" ] || return "$status"
  failed=$(failed_of "$@")
  count=$(grep -c '::' <<<"$failed")
  [ "$count" -le "$MOST_FAILED" ] || return "$status"
  echo "test: $count failed; once more, alone:"
  cached "$@" --last-failed --last-failed-no-failures none || return
  echo "test: passed, but not at the first attempt:"
  echo "$failed"
}

if [ $# -gt 0 ]; then
  cached given "$@"
  again $? given "$@"
  exit
fi

# Domains up to 101 are safe on every system; the process id keeps two suites apart.
first_domain=$((1 + 3 * ($$ % 33)))
logs=$(mktemp -d)
ROS_DOMAIN_ID=$first_domain \
  python3 -m pytest -o cache_dir=.pytest_cache/nodes "${NODES[@]}" >"$logs/nodes" 2>&1 &
nodes=$!
ROS_DOMAIN_ID=$((first_domain + 1)) nice -n 10 \
  python3 -m pytest -o cache_dir=.pytest_cache/computing "${COMPUTING[@]}" >"$logs/computing" 2>&1 &
computing=$!
trap 'kill "$nodes" "$computing" 2>/dev/null; rm -rf "$logs"' EXIT
export ROS_DOMAIN_ID=$((first_domain + 2))
cached sessions "${SESSIONS[@]}"
of_sessions=$?
wait "$nodes"
of_nodes=$?
cat "$logs/nodes"
wait "$computing"
of_computing=$?
cat "$logs/computing"
# Nothing runs beside these.
worst=$of_computing
again "$of_sessions" sessions "${SESSIONS[@]}" || worst=$?
again "$of_nodes" nodes "${NODES[@]}" || worst=$?
exit "$worst"
