# SPDX-License-Identifier: Apache-2.0
"""What a person gets wrong when they open a session: one clear sentence, and everything ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import re
import shutil
import socket

import pytest

from test.process import Process
from test.rigs import MODELS

Spoil = Callable[[Path], list[str]]


def cut_weights(folder: Path) -> list[str]:
    """A copy of the world model whose download broke off."""
    copy = folder / 'cut'
    shutil.copytree(MODELS / 'world_model', copy)
    weights = copy / 'model.safetensors'
    weights.write_bytes(weights.read_bytes()[:-1000])
    return [f'world_model:={copy}']


def file_as_record_dir(folder: Path) -> list[str]:
    """Nobody can make a folder below a file, not even root."""
    (folder / 'file').touch()
    return [f'record_dir:={folder / "file"}']


CASES: dict[str, tuple[Spoil, str]] = {
    'an unknown task': (
        lambda folder: ['task:=juggling', 'headless:=true'],
        r"there is no task 'juggling'; the tasks are: pusht",
    ),
    'no such world model': (
        lambda folder: [f'world_model:={folder}/nowhere', 'headless:=true'],
        r'world_model: .*nowhere',
    ),
    'a damaged world model': (
        lambda folder: [*cut_weights(folder), 'headless:=true'],
        r'world_model: .*cut',
    ),
    'no such policy': (
        lambda folder: [f'policy:={folder}/nowhere', 'headless:=true'],
        r'policy: .*nowhere',
    ),
    'a record_dir that cannot be written': (
        lambda folder: [*file_as_record_dir(folder), 'headless:=true'],
        r'(recorder|world_model): .*file/',
    ),
    'no such file of parameters': (
        lambda folder: [f'params_file:={folder}/nowhere.yaml', 'headless:=true'],
        r"params_file '.*nowhere\.yaml' cannot be read: .*No such file",
    ),
    'a file of parameters that names no nodes': (
        lambda folder: [f'params_file:={MODELS / "policy" / "card.json"}', 'headless:=true'],
        r"params_file '.*card\.json' must hold the names of nodes",
    ),
    'an unknown pace': (
        lambda folder: ['pace:=warp', 'headless:=true'],
        r'warp',
    ),
}


def refused(arguments: list[str], folder: Path, sentence: str) -> None:
    """The session ends by itself with a non-zero code, and one line says why."""
    command = ['ros2', 'launch', 'hiwm_bringup', 'wm_session.launch.py']
    if not any(word.startswith('record_dir') for word in arguments):
        arguments = [*arguments, f'record_dir:={folder / "sessions"}']
    with Process([*command, *arguments], folder / 'log') as session:
        assert session.wait() != 0, session.text
        lines = [line for line in session.text.splitlines() if re.search(sentence, line)]
        assert lines, session.text
        assert 'Traceback' not in session.text, session.text
        assert session.left_behind() == []


@pytest.mark.parametrize('case', CASES)
def test_a_mistake_gets_one_sentence_and_ends_the_session(case: str, tmp_path: Path) -> None:
    spoil, sentence = CASES[case]
    refused(spoil(tmp_path), tmp_path, sentence)


def test_a_busy_port_gets_one_sentence_and_ends_the_session(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        other.listen()
        port = other.getsockname()[1]
        refused([f'port:={port}'], tmp_path, rf'console: .*{port}')
