# SPDX-License-Identifier: Apache-2.0
"""Where the models lie that come with the workspace, if they are installed."""

from __future__ import annotations

from pathlib import Path

from hiwm_core.task import Task

PACKAGE = 'hiwm_bringup'


def shipped_model(task: Task, kind: str) -> Path | None:
    """The folder of a task's shipped model of a kind ('world_model' or 'policy').

    None where the package that ships it is not installed, or ships none for the task.
    """
    try:
        from ament_index_python.packages import (  # noqa: PLC0415  not there without ROS
            PackageNotFoundError,
            get_package_share_directory,
        )
    except ImportError:
        return None
    try:
        share = Path(get_package_share_directory(PACKAGE))
    except PackageNotFoundError:
        return None
    folder = share / 'models' / task.name / kind
    return folder if folder.is_dir() else None
