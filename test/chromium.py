# SPDX-License-Identifier: Apache-2.0
"""Where this machine has a browser that the tests can drive."""

from __future__ import annotations

import shutil

NAMES = ('chromium', 'chromium-browser', 'google-chrome')


def find_chromium() -> str:
    """The path of Chromium or Chrome; an AssertionError says how to get one."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    assert path, 'there is no Chromium here; `make test` installs it, or says how'
    return path
