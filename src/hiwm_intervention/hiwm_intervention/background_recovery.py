# SPDX-License-Identifier: Apache-2.0
"""The recovery of earlier recordings beside a new one, in a process of its own.

A new session does not wait for it, and it may be ended at any moment: the next start goes on.
"""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

from hiwm_core.bag_recovery import unfinished_bags

PATIENCE = 1.0  # s


class BackgroundRecovery:
    """Recovers what recorders that were killed left in a folder of sessions.

    Args:
        record_dir: The folder of all sessions.
    """

    def __init__(self, record_dir: Path) -> None:
        self._process: subprocess.Popen[str] | None = None
        if unfinished_bags(record_dir):
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    '-c',
                    'from hiwm_intervention.programs import recover; recover()',
                    str(record_dir),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def news(self) -> list[str]:
        """What it has to say, once it has ended."""
        if self._process is None or self._process.poll() is None:
            return []
        return self._last_words()

    def stop(self) -> list[str]:
        """End it; returns what it has to say."""
        if self._process is None:
            return []
        self._process.terminate()
        return self._last_words()

    def _last_words(self) -> list[str]:
        assert self._process is not None
        process, self._process = self._process, None
        try:
            text, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            return []
        return [line for line in text.splitlines() if line.strip()]
