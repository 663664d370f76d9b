# SPDX-License-Identifier: Apache-2.0
"""The half of an import that runs in LeRobot's environment: episodes as arrays in files.

The other half, `ros2 run hiwm_robot import_lerobot`, makes bags of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
import sys

import numpy as np

from hiwm_core.error import HiwmError
from hiwm_core.lerobot_dataset import LeRobotEpisode, read_lerobot
from hiwm_core.task import load_task


def load_dump(path: Path) -> LeRobotEpisode:
    """An episode that this program wrote."""
    with np.load(path) as arrays:
        values = {field.name: arrays[field.name] for field in fields(LeRobotEpisode)}
    return LeRobotEpisode(**values | {'success': bool(values['success'])})


def main(given: Sequence[str] | None = None) -> int:
    """Entry point; prints the path of each episode's file as it is complete."""
    parser = argparse.ArgumentParser(prog='lerobot_dump', description=__doc__)
    parser.add_argument('--dataset', type=Path, required=True)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--task', required=True)
    options = parser.parse_args(given)
    try:
        for number, episode in enumerate(read_lerobot(options.dataset, load_task(options.task))):
            path = options.out / f'{number:06d}.npz'
            np.savez(
                path, **{field.name: getattr(episode, field.name) for field in fields(episode)}
            )
            print(path, flush=True)
    except HiwmError as error:
        print(' '.join(error.message.split()), file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
