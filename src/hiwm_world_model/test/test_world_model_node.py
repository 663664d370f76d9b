# SPDX-License-Identifier: Apache-2.0
"""The node refuses weights that it cannot use: one sentence and exit code 1."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import pytest

from hiwm_world_model.model import WorldModel
from hiwm_world_model.weights import WEIGHTS_NAME, save_model

RUN = """
import sys
from hiwm_world_model.world_model_node import main
sys.argv[0] = 'world_model'
main()
"""


def run_node(folder: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-c', RUN, '--ros-args', '-p', f"model:='{folder}'"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_damaged_weights_end_the_node(tmp_path: Path, small_model: WorldModel) -> None:
    save_model(tmp_path, small_model, {})
    weights = tmp_path / WEIGHTS_NAME
    weights.write_bytes(weights.read_bytes()[:-7])
    ended = run_node(str(tmp_path))
    assert ended.returncode == 1
    assert 'world_model: the weights' in ended.stderr
    assert 'Traceback' not in ended.stderr


@pytest.mark.parametrize(
    ('folder', 'sentence'), [('/nowhere', 'there is no /nowhere/card.json'), ('', 'needs weights')]
)
def test_missing_weights_end_the_node(folder: str, sentence: str) -> None:
    ended = run_node(folder)
    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert 'Traceback' not in ended.stderr
