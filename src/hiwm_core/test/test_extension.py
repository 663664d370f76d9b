# SPDX-License-Identifier: Apache-2.0
"""Backends and policies of other packages are found by name, and refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from hiwm_core.error import ConfigurationError
from hiwm_core.extension import load_backend, load_policy, open_policy
from hiwm_core.task import Task

PLUGIN = """
def make(task, model, device='none'):
    return (task.name, model, device)
"""
ENTRY_POINTS = """
[hiwm.backends]
echo = plugin_of_a_test:make
gone = package_that_is_not_there:make
empty = plugin_of_a_test:missing

[hiwm.policies]
echo = plugin_of_a_test:make
"""


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package as an installer leaves it, with entry points."""
    (tmp_path / 'plugin_of_a_test.py').write_text(PLUGIN)
    metadata = tmp_path / 'plugin_of_a_test-1.0.dist-info'
    metadata.mkdir()
    (metadata / 'METADATA').write_text('Name: plugin-of-a-test\nVersion: 1.0\n')
    (metadata / 'entry_points.txt').write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)


def test_an_extension_is_made_with_the_task_and_its_weights(task: Task) -> None:
    assert load_backend('echo', task) == ('two_arms', None, 'auto')
    weights = Path('weights')
    assert load_backend('echo', task, weights, 'cuda') == ('two_arms', weights, 'cuda')
    assert load_policy('echo', task, weights) == ('two_arms', weights, 'none')


def test_a_policy_is_opened_by_its_folder_or_its_name(tmp_path: Path, task: Task) -> None:
    (tmp_path / 'card.json').write_text('{"backbone": "echo"}')
    assert open_policy(task, str(tmp_path)) == ('two_arms', tmp_path, 'none')
    assert open_policy(task, 'echo') == ('two_arms', None, 'none')
    for which, sentence in (
        ('', "no policy ''"),
        ('nowhere', 'neither a folder'),
        (str(tmp_path / 'x'), 'neither a folder'),
    ):
        with pytest.raises(ConfigurationError, match=sentence):
            open_policy(task, which)
    for text in ('{', '{}', '[]'):
        (tmp_path / 'card.json').write_text(text)
        with pytest.raises(ConfigurationError, match='does not say which policy this is'):
            open_policy(task, str(tmp_path))


def test_what_cannot_be_loaded_is_refused(task: Task) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing named 'tail' among .* backends: .*echo"):
        load_backend('tail', task)
    with pytest.raises(ConfigurationError, match=r"nothing named 'gone' among the .* policies"):
        load_policy('gone', task)
    for name in ('gone', 'empty'):
        with pytest.raises(ConfigurationError, match=f"'{name}' is installed but cannot be impor"):
            load_backend(name, task)
