# SPDX-License-Identifier: Apache-2.0
"""A world model as a backend and as files: repeatable, or refused with a sentence."""

from __future__ import annotations

from dataclasses import replace
import hashlib
import json
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest

from hiwm_core.action import Source
from hiwm_core.backend import first_observation, next_observation, observe
from hiwm_core.error import ConfigurationError, ErrorCode, HiwmError
from hiwm_core.extension import load_backend
from hiwm_core.observation import Observation
from hiwm_core.rollout_tree import RolloutTree
from hiwm_core.task import Task
from hiwm_core.what_if import expand
from hiwm_world_model.backend import WorldModelBackend, make_backend
from hiwm_world_model.model import WorldModel
from hiwm_world_model.weights import CARD_NAME, WEIGHTS_NAME, load_model, save_model

REPLAY = """
import hashlib, sys
from pathlib import Path
import numpy as np, torch
from hiwm_core.backend import first_observation, next_observation
from hiwm_core.task import load_task
from hiwm_world_model.backend import make_backend
torch.set_num_threads(1)
task = load_task('pusht')
backend = make_backend(task, Path(sys.argv[1]))
seen = first_observation(backend, task.start_scene(5), 1)
digest = hashlib.sha256()
for step in range(12):
    seen = next_observation(backend, seen, np.array([0.1 + 0.02 * step, 0.3]), 1000 + step)
    digest.update(seen.frame.tobytes() + seen.state.tobytes())
print(digest.hexdigest())
"""


def same(first: Observation, second: Observation) -> bool:
    return (
        np.array_equal(first.frame, second.frame)
        and np.array_equal(first.scene, second.scene)
        and np.array_equal(first.state, second.state)
        and first.fidelity == second.fidelity
    )


def push(task: Task, backend: WorldModelBackend, key: int) -> Observation:
    """Six steps through the block."""
    seen = first_observation(backend, np.array([0.2, 0.3, 0.25, 0.25, 0.5]), 0)
    for _ in range(6):
        seen = next_observation(backend, seen, np.array([0.3, 0.28]), key)
    return seen


def test_weights_come_back(tmp_path: Path, task: Task, small_model: WorldModel) -> None:
    save_model(tmp_path, small_model, {'note': 'kept'})
    assert json.loads((tmp_path / CARD_NAME).read_text())['note'] == 'kept'
    loaded = load_model(tmp_path, task)
    for name, value in small_model.state_dict().items():
        assert bool((loaded.state_dict()[name] == value).all()), name
    assert same(
        push(task, WorldModelBackend(loaded), 4), push(task, WorldModelBackend(small_model), 4)
    )
    assert {path.name for path in tmp_path.iterdir()} == {CARD_NAME, WEIGHTS_NAME}


def test_the_backend_is_found_by_its_name(
    tmp_path: Path, task: Task, small_model: WorldModel
) -> None:
    save_model(tmp_path, small_model, {})
    assert load_backend('world_model', task, tmp_path).name == 'world_model'


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize('spoil', [flip, cut])
def test_damaged_weights_are_refused(
    tmp_path: Path, task: Task, small_model: WorldModel, spoil: object
) -> None:
    save_model(tmp_path, small_model, {})
    spoil(tmp_path / WEIGHTS_NAME)  # type: ignore[operator]
    with pytest.raises(ConfigurationError, match='are damaged: their checksum'):
        load_model(tmp_path, task)


def edit_card(folder: Path, **facts: object) -> None:
    card = json.loads((folder / CARD_NAME).read_text())
    (folder / CARD_NAME).write_text(json.dumps({**card, **facts}))


@pytest.mark.parametrize(
    ('facts', 'sentence'),
    [
        ({'task': 'rope'}, "was trained for task 'rope' and not 'pusht'"),
        ({'task_signature': 'x'}, "another version of task 'pusht'"),
        ({'kind': 'policy'}, "holds a model of kind 'policy'"),
        ({'architecture': {'members': 9}}, 'are of another architecture'),
        ({'architecture': {'depth': 9}}, 'are of another architecture'),
    ],
)
def test_foreign_weights_are_refused(
    tmp_path: Path, task: Task, small_model: WorldModel, facts: dict[str, object], sentence: str
) -> None:
    save_model(tmp_path, small_model, {})
    edit_card(tmp_path, **facts)
    with pytest.raises(ConfigurationError, match=sentence):
        load_model(tmp_path, task)


def test_weights_that_are_no_safetensors_are_refused(
    tmp_path: Path, task: Task, small_model: WorldModel
) -> None:
    save_model(tmp_path, small_model, {})
    (tmp_path / WEIGHTS_NAME).write_bytes(b'nothing of the kind')
    edit_card(tmp_path, weights_sha256=hashlib.sha256(b'nothing of the kind').hexdigest())
    with pytest.raises(ConfigurationError, match='are of another architecture'):
        load_model(tmp_path, task)


def test_missing_files_are_named(tmp_path: Path, task: Task, small_model: WorldModel) -> None:
    with pytest.raises(ConfigurationError, match=r'there is no .*card\.json'):
        load_model(tmp_path / 'nowhere', task)
    save_model(tmp_path, small_model, {})
    whole = (tmp_path / CARD_NAME).read_text()
    (tmp_path / CARD_NAME).write_text('{"kind": ')
    with pytest.raises(ConfigurationError, match=r'card\.json is damaged'):
        load_model(tmp_path, task)
    (tmp_path / CARD_NAME).write_text(whole)
    (tmp_path / WEIGHTS_NAME).unlink()
    with pytest.raises(ConfigurationError, match=r'there is no .*model\.safetensors'):
        load_model(tmp_path, task)
    with pytest.raises(ConfigurationError, match='needs weights'):
        make_backend(task, None)


def test_steps_are_the_same_in_any_order(task: Task, small_model: WorldModel) -> None:
    backend = WorldModelBackend(small_model)
    start = first_observation(backend, task.start_scene(7), 0)
    first = next_observation(backend, start, np.array([0.1, 0.2]), 11)
    second = next_observation(backend, first, np.array([0.4, 0.2]), 12)
    for _ in range(3):
        next_observation(backend, second, np.array([0.5, 0.5]), 13)
        assert same(next_observation(backend, first, np.array([0.4, 0.2]), 12), second)
        assert same(next_observation(backend, start, np.array([0.1, 0.2]), 11), first)
        assert same(first_observation(backend, task.start_scene(7), 99), start)


def test_a_second_process_sees_the_same_bits(
    tmp_path: Path, task: Task, small_model: WorldModel
) -> None:
    save_model(tmp_path, small_model, {})
    backend = make_backend(task, tmp_path)
    seen = first_observation(backend, task.start_scene(5), 1)
    digest = hashlib.sha256()
    for step in range(12):
        seen = next_observation(backend, seen, np.array([0.1 + 0.02 * step, 0.3]), 1000 + step)
        digest.update(seen.frame.tobytes() + seen.state.tobytes())
    other = subprocess.run(
        [sys.executable, '-c', REPLAY, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == digest.hexdigest()


def test_another_key_is_another_future(task: Task, small_model: WorldModel) -> None:
    backend = WorldModelBackend(small_model)
    first, again, other = (push(task, backend, key) for key in (1, 1, 2**63 + 1))
    assert same(first, again)
    assert not np.array_equal(first.scene, other.scene)


def test_a_batch_is_its_parts(task: Task, small_model: WorldModel) -> None:
    import torch  # noqa: PLC0415

    scenes = torch.tensor(np.array([task.start_scene(n) for n in range(5)]), dtype=torch.float32)
    actions = torch.rand(5, 2, generator=torch.Generator().manual_seed(1)) * 0.5
    with torch.inference_mode():
        together = small_model.step(small_model.start(scenes), actions, range(5))
        for n in range(5):
            alone = small_model.step(small_model.start(scenes[n : n + 1]), actions[n : n + 1], [n])
            torch.testing.assert_close(alone.scene[0], together.scene[n], atol=1e-5, rtol=1e-4)
        rows = small_model.unpack(together.pack())
        assert torch.equal(rows.scene, together.scene)
        assert torch.equal(rows.velocity, together.velocity)


def test_it_goes_on_from_another_rigs_observation(task: Task, small_model: WorldModel) -> None:
    backend = WorldModelBackend(small_model)
    start = first_observation(backend, task.start_scene(3), 0)
    action = np.array([0.3, 0.3])
    foreign = replace(start, state=np.zeros(10))
    with pytest.raises(HiwmError, match='continues only from its own'):
        backend.step(foreign.state[None], action[None], [5])
    assert same(
        next_observation(backend, foreign, action, 5), next_observation(backend, start, action, 5)
    )
    picture = replace(start, state=np.empty(0), scene=np.empty(0))
    found = observe(backend, backend.encode(start.frame[None]))[0]
    assert same(
        next_observation(backend, picture, action, 5), next_observation(backend, found, action, 5)
    )
    with pytest.raises(HiwmError, match='frames of 96 x 96 x 3'):
        backend.encode(np.zeros((1, 48, 96, 3), np.uint8))


def test_an_expansion_is_its_branches(tmp_path: Path, task: Task, small_model: WorldModel) -> None:
    backend = WorldModelBackend(small_model)
    tree = RolloutTree(tmp_path, 3)
    scene = task.start_scene(5)
    root = tree.add_root(first_observation(backend, scene, 0), 'run-1', tree.root_key(scene))
    actions = np.random.default_rng(0).uniform(task.action_low, task.action_high, (6, 8, 2))
    expansion = expand(task, backend, tree, root.id, actions, frames_at=[7])
    assert np.isnan(expansion.readings.fidelity[:, :7]).all()
    assert np.isfinite(expansion.readings.fidelity[:, 7]).all()
    for row in range(6):
        tree.move_head(root.id)
        seen, node = tree.observation(root.id), root
        for step in range(8):
            key = tree.step_key(node.id, 'run-1')
            seen = next_observation(backend, seen, actions[row, step], key)
            node = tree.add_child(seen, actions[row, step], Source.POLICY, 'run-1')
            np.testing.assert_allclose(expansion.states[row, step], seen.state, atol=1e-4)
        apart = np.abs(expansion.frames[7][row].astype(int) - seen.frame)
        assert (apart > 1).mean() < 0.001
    tree.close()


def test_a_device_that_has_no_memory_left_is_one_sentence(
    task: Task, small_model: WorldModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # noqa: PLC0415

    backend = WorldModelBackend(small_model)
    states = backend.start(task.start_scene(1), 0)
    with monkeypatch.context() as patch:
        patch.setattr(small_model.dynamics, 'forward', lambda *_: torch.empty(2**50))
        with pytest.raises(HiwmError, match='no memory left on the device cpu for 1 st') as error:
            backend.step(states, np.array([[0.1, 0.1]]), [1])
    assert error.value.code is ErrorCode.MODEL_FAULT
    assert '\n' not in error.value.message
    assert np.isfinite(backend.step(states, np.array([[0.1, 0.1]]), [1])).all(), 'it goes on'


def test_a_gpu_that_is_absent_is_refused(
    tmp_path: Path, task: Task, small_model: WorldModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # noqa: PLC0415

    save_model(tmp_path, small_model, {})
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ConfigurationError, match="'cuda' was asked for, but torch finds no GPU"):
        load_backend('world_model', task, tmp_path, 'cuda')
    for device in ('auto', 'cpu'):
        assert load_backend('world_model', task, tmp_path, device).name == 'world_model'


def test_a_start_that_is_no_scene_is_refused(task: Task, small_model: WorldModel) -> None:
    with pytest.raises(HiwmError, match='has 5 values'):
        first_observation(WorldModelBackend(small_model), np.zeros(3), 0)
