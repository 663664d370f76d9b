#!/usr/bin/env bash
# The test suite. As with colcon's `--retest-until-pass 1`, a few tests that failed are run once more,
# alone: many drive real processes over a real network, where a machine that stalls for seconds looks
# like a fault. What passes only then is named at the end. A test that fails twice fails.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly MOST_FAILED=10
readonly SOME_FAILED=1 # pytest's exit code

python3 -m pytest "$@"
status=$?
[ "$status" -eq "$SOME_FAILED" ] || exit "$status"
failed=$(python3 -m pytest --last-failed --last-failed-no-failures none --collect-only "$@" 2>/dev/null | grep '::')
count=$(grep -c '::' <<<"$failed")
[ "$count" -le "$MOST_FAILED" ] || exit "$status"
echo "test: $count failed; once more, alone:"
python3 -m pytest --last-failed --last-failed-no-failures none "$@" || exit
echo "test: passed, but not at the first attempt:"
echo "$failed"
