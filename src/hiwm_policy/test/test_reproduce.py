# SPDX-License-Identifier: Apache-2.0
"""The study's stages: order, what is done already, failures, and that all lead to the report."""

from __future__ import annotations

from pathlib import Path
import re
import sys

import pytest

from hiwm_core.error import HiwmError
from hiwm_policy import reproduce
from hiwm_policy.budget import BUDGETS
from hiwm_policy.reproduce import Study
from hiwm_policy.stage import Stage, run_stages

TRAINING = re.compile(r'\w+ (base|demos_\d+)')


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('hiwm_policy.stage.POLL_SECONDS', 0.02)


def stage(folder: Path, name: str, *needs: str, code: str = '') -> Stage:
    """Copies the files of the stages before it into its own, or does what it is told."""
    makes = folder / name
    read = ' + '.join(f'open({str(folder / each)!r}).read()' for each in needs) or "''"
    code = code or f'open({str(makes)!r}, "w").write({read} + {name!r})'
    return Stage(name, lambda: [sys.executable, '-c', code], makes, needs)


def test_stages_run_after_what_they_need_and_only_once(tmp_path: Path) -> None:
    stages = [
        stage(tmp_path, 'd', 'b', 'c'),
        stage(tmp_path, 'a'),
        stage(tmp_path, 'b', 'a'),
        stage(tmp_path, 'c', 'a'),
    ]
    run_stages(stages, tmp_path / 'logs', 2)
    assert (tmp_path / 'd').read_text() == 'abacd'
    (tmp_path / 'a').write_text('!')
    (tmp_path / 'c').unlink()
    run_stages(stages, tmp_path / 'logs', 2)
    assert (tmp_path / 'c').read_text() == '!c'
    assert (tmp_path / 'b').read_text() == 'ab', 'what was there was not made again'


def test_a_failure_is_named_and_the_rest_goes_on_later(tmp_path: Path) -> None:
    wrong = stage(tmp_path, 'b', 'a', code='import sys; sys.exit("there is no data")')
    stages = [stage(tmp_path, 'a'), wrong, stage(tmp_path, 'c', 'b')]
    with pytest.raises(HiwmError, match=r"'b' failed \(there is no data\); its log is .*b\.log"):
        run_stages(stages, tmp_path / 'logs', 2)
    assert not (tmp_path / 'c').exists()
    stages[1] = stage(tmp_path, 'b', 'a')
    run_stages(stages, tmp_path / 'logs', 2)
    assert (tmp_path / 'c').read_text() == 'abc'


def test_a_stage_that_makes_nothing_has_failed(tmp_path: Path) -> None:
    with pytest.raises(HiwmError, match="'a' failed"):
        run_stages([stage(tmp_path, 'a', code='print(1)')], tmp_path / 'logs', 1)


@pytest.mark.parametrize('budget', ['small', 'full'])
def test_each_backbone_learns_from_as_many_demos_as_it_is_given(
    budget: str, tmp_path: Path
) -> None:
    study = Study(reproduce.arguments(['--out', str(tmp_path), '--budget', budget]))
    trained: dict[str, list[int]] = {}
    for each in study.stages:
        if TRAINING.fullmatch(each.name):
            command = each.command()
            backbone = command[command.index('--backbone') + 1]
            trained.setdefault(backbone, []).append(int(command[command.index('--demos') + 1]))
    for backbone, share in BUDGETS[budget].backbones.items():
        assert trained[backbone] == [share.demos, *share.other_demos]
        assert share.demos not in share.other_demos, 'no policy is two points'


@pytest.mark.parametrize('budget', ['small', 'full'])
def test_the_study_is_whole(budget: str, tmp_path: Path) -> None:
    study = Study(reproduce.arguments(['--out', str(tmp_path), '--budget', budget]))
    by_name = {each.name: each for each in study.stages}
    assert len(by_name) == len(study.stages)
    before: set[str] = set()
    for each in study.stages:
        assert before.issuperset(each.needs), 'what a stage needs comes before it'
        before.add(each.name)
    needed, waiting = set(), ['report']
    while waiting:
        name = waiting.pop()
        needed.add(name)
        waiting += by_name[name].needs
    assert needed == set(by_name), 'every stage leads to the report'
    on_rig = [name for name in by_name if name.endswith(' on sim_arm')]
    on_model = [name for name in by_name if name.endswith(' on world_model')]
    assert len(on_rig) == len(on_model) >= 12, 'enough policies for a correlation'


def test_what_is_given_is_not_made(tmp_path: Path) -> None:
    given = reproduce.arguments(
        [
            *('--out', str(tmp_path), '--data', 'd', '--world-model', 'w'),
            *('--base', 'diffusion=base', '--backbones', 'diffusion'),
        ]
    )
    stages = Study(given).stages
    names = {each.name for each in stages}
    assert not names & {'world model', 'data demo', 'diffusion base'}
    sessions = next(each for each in stages if each.name == 'diffusion hi_wm sessions')
    assert sessions.command()[:4] == ['ros2', 'run', 'hiwm_policy', 'correct']
    assert {'w', 'base'} <= set(sessions.command())


def test_an_encoder_that_is_given_is_that_of_all(tmp_path: Path) -> None:
    given = reproduce.arguments(['--out', str(tmp_path), '--encoder', 'reader'])
    trainings = [each for each in Study(given).stages if TRAINING.fullmatch(each.name)]
    assert len(trainings) == 6, 'three of each backbone'
    for command in (each.command() for each in trainings):
        assert command[2:4] == ['hiwm_policy', 'train']
        assert command[command.index('--encoder') + 1] == 'reader'
        assert '--reading-steps' not in command
