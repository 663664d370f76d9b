# SPDX-License-Identifier: Apache-2.0
"""The study's stages: order, what is done already, failures, and that all lead to the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
import json
from pathlib import Path
import re
import subprocess
import sys

import pytest

from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_policy import reproduce
from hiwm_policy.budget import BUDGETS
from hiwm_policy.model import WEIGHTS
from hiwm_policy.reproduce import Study
from hiwm_policy.stage import Stage, done_stages, run_stages

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
    assert (tmp_path / 'd').read_text() == 'ab!cd', 'what it needs was'
    assert (tmp_path / 'd.old').read_text() == 'abacd'


def test_what_was_made_from_something_older_is_never_taken_for_new(tmp_path: Path) -> None:
    whole = [stage(tmp_path, 'a'), stage(tmp_path, 'b', 'a')]
    run_stages(whole, tmp_path / 'logs', 1)
    (tmp_path / 'a').unlink()
    wrong = stage(tmp_path, 'a', code='import sys; sys.exit("stopped")')
    with pytest.raises(HiwmError, match='stopped'):
        run_stages([wrong, whole[1]], tmp_path / 'logs', 1)
    (tmp_path / 'a').write_text('A')
    silent = stage(tmp_path, 'b', 'a', code='pass')
    with pytest.raises(HiwmError, match="'b' failed"):
        run_stages([whole[0], silent], tmp_path / 'logs', 1)
    run_stages(whole, tmp_path / 'logs', 1)
    assert (tmp_path / 'b').read_text() == 'Ab'


def test_what_a_stage_goes_on_with_is_set_aside_with_what_it_was_made_from(
    tmp_path: Path,
) -> None:
    kept = tmp_path / 'kept'
    add = f'open({str(kept / "half")!r}, "a").write("x")'
    make = f'open({str(tmp_path / "b")!r}, "w").write(open({str(kept / "half")!r}).read())'
    prepare = f'import os; os.makedirs({str(kept)!r}, exist_ok=True)'
    half = replace(
        stage(tmp_path, 'b', 'a', code=f'{prepare}\n{add}\nexit("stopped")'), folder=kept
    )
    whole = replace(stage(tmp_path, 'b', 'a', code=f'{prepare}\n{add}\n{make}'), folder=kept)
    first = stage(tmp_path, 'a')
    with pytest.raises(HiwmError, match='stopped'):
        run_stages([first, half], tmp_path / 'logs', 1)
    run_stages([first, whole], tmp_path / 'logs', 1)
    assert (tmp_path / 'b').read_text() == 'xx', 'it has gone on'
    for _ in range(2):
        (tmp_path / 'a').unlink()
        run_stages([first, whole], tmp_path / 'logs', 1)
        assert (tmp_path / 'b').read_text() == 'x', 'it has begun anew'
        assert (tmp_path / 'kept.old' / 'half').exists()


def test_a_stage_that_was_killed_is_said_to_be(tmp_path: Path) -> None:
    killed = 'import os, signal; print(3, flush=True); os.kill(os.getpid(), signal.SIGKILL)'
    with pytest.raises(HiwmError, match=r"'a' failed \(ended by SIGKILL\)"):
        run_stages([stage(tmp_path, 'a', code=killed)], tmp_path / 'logs', 1)


def test_a_stage_that_outlives_its_study_keeps_it(
    repeated: Callable[..., list[str]], tmp_path: Path
) -> None:
    study = tmp_path / 'study'
    study.mkdir()
    with reproduce._alone(study) as lock:
        living = subprocess.Popen(['sleep', '60'], pass_fds=(lock,))
    try:
        with pytest.raises(ConfigurationError, match='study is being worked on'):
            repeated()
    finally:
        living.kill()
        living.wait()
    assert repeated()


def test_a_stage_may_run_always(tmp_path: Path) -> None:
    (tmp_path / 'report').write_text('of before')
    always = replace(stage(tmp_path, 'report'), always=True)
    run_stages([always], tmp_path / 'logs', 1)
    assert (tmp_path / 'report').read_text() == 'report'


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


@pytest.fixture
def repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Runs the command, whose stages touch their files; returns those that were run."""

    def run(*options: str) -> list[str]:
        made: list[str] = []

        def run_all(stages: Sequence[Stage], logs: Path, workers: int, held: Sequence[int]) -> None:
            for each in stages:
                if each.name not in done_stages(stages):
                    each.makes.parent.mkdir(parents=True, exist_ok=True)
                    each.makes.touch()
                    made.append(each.name)

        monkeypatch.setattr(reproduce, 'run_stages', run_all)
        given = reproduce.arguments(['--out', str(tmp_path / 'study'), *options])
        assert reproduce._repeat(given) == 0
        return made

    return run


def test_the_report_is_of_all_that_is_there(repeated: Callable[..., list[str]]) -> None:
    first = repeated('--backbones', 'diffusion')
    assert first[-1] == 'report'
    later = repeated()
    assert {name.split()[0] for name in later} == {'flow', 'report'}
    assert repeated() == ['report']


def test_a_study_that_was_begun_with_one_backbone_goes_on_with_both(
    repeated: Callable[..., list[str]],
) -> None:
    repeated('--backbones', 'flow')
    assert {name.split()[0] for name in repeated()} == {'diffusion', 'report'}


def test_other_training_code_is_another_study(
    repeated: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    repeated()
    monkeypatch.setattr(reproduce, 'code_sha256', lambda: 'of tomorrow')
    with pytest.raises(ConfigurationError, match='with another training code;'):
        repeated()


def test_what_a_policy_led_to_goes_with_it(
    repeated: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repeated()
    policies, evaluations = tmp_path / 'study' / 'policies', tmp_path / 'study' / 'evaluations'
    (policies / 'diffusion_base' / 'card.json').unlink()
    capsys.readouterr()
    made = repeated('--backbones', 'diffusion')
    assert {'diffusion base', 'diffusion hi_wm sessions', 'diffusion wm_cl on sim_arm'} < set(made)
    assert not any(name.startswith(('data', 'world model', 'flow')) for name in made)
    assert 'flow base on sim_arm' in capsys.readouterr().err, 'it has the encoder of the other'
    names = {path.name for path in evaluations.glob('*.json')}
    assert names and all(name.startswith('diffusion') for name in names)


@pytest.mark.parametrize(
    ('options', 'named'),
    [
        (['--weighting', 'iwr'], 'weighting'),
        (['--budget', 'full'], 'budget'),
        (['--data', 'elsewhere'], 'data'),
        (['--encoder', 'READER'], 'encoder'),
        (['--base', 'flow=READER'], 'base, encoder'),
        (['--backbones', 'flow'], 'encoder'),
    ],
)
def test_a_study_with_other_settings_is_refused(
    repeated: Callable[..., list[str]], options: list[str], named: str, tmp_path: Path
) -> None:
    (tmp_path / WEIGHTS).write_bytes(b'weights')
    options = [each.replace('READER', str(tmp_path)) for each in options]
    repeated('--list')
    assert not (tmp_path / 'study').exists(), 'to list the stages decides nothing'
    repeated()
    settings = (tmp_path / 'study' / 'study.json').read_text()
    assert json.loads(settings)['weighting'] == 'uniform'
    for more in ([], ['--list']):
        with pytest.raises(
            ConfigurationError, match=f'study holds a study with another {named}; remove it or name'
        ):
            repeated(*options, *more)
    assert (tmp_path / 'study' / 'study.json').read_text() == settings


def test_what_is_given_is_known_by_its_weights(
    repeated: Callable[..., list[str]], tmp_path: Path
) -> None:
    given = ['--world-model', str(tmp_path)]
    with pytest.raises(ConfigurationError, match='holds no weights'):
        repeated(*given)
    (tmp_path / WEIGHTS).write_bytes(b'weights')
    repeated(*given)
    assert repeated(*given, '--workers', '1') == ['report']
    (tmp_path / WEIGHTS).write_bytes(b'other weights')
    with pytest.raises(ConfigurationError, match='with another world model;'):
        repeated(*given)


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
