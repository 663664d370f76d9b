# SPDX-License-Identifier: Apache-2.0
"""`make reproduce`: the whole study, from data to report, without a person.

A stage is a command of this workspace and the file that it writes last. It is done if its file is
there and the stages that it needs are done: what was made from something that is made anew is made
anew too, and its old file is kept as NAME.old. Interrupted or failed, the same command goes on with
what is missing; the report is always written. Stages that wait for nothing run beside each other,
each a process of one thread, so many as `--workers` says.

What decides the results is kept in OUT/study.json, and a study with other settings, or of other
training code, is refused. One command at a time works on a study; a stage that has outlived its
command counts as one.

The operator corrects inside the world model, never on the rig, and from starts of their own: those
of the evaluation are 20,000,000 and after, the operator's 50,000,000 and after, the closed-loop
baseline's 51,000,000 and after. What the study is made of (how many demonstrations, how many
branches) was decided on the starts 10,000,000 and after, so that its figures are of others.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
import fcntl
import json
from pathlib import Path
import signal
import sys
from typing import Any

from hiwm_core.command import Parser, run_command
from hiwm_core.error import ConfigurationError
from hiwm_core.json_file import write_json
from hiwm_core.task import load_task
from hiwm_policy.backbone import BACKBONES
from hiwm_policy.budget import BUDGETS
from hiwm_policy.model import code_sha256
from hiwm_policy.settings import check_settings, weights_sha256
from hiwm_policy.stage import Stage, done_stages, run_of, run_stages, set_aside

SETTINGS_NAME, LOCK_NAME = 'study.json', '.lock'
EVALUATION_SEED, OPERATOR_SEED, CLOSED_LOOP_SEED = 20_000_000, 50_000_000, 51_000_000
DATA = {
    'demo': ('--seed', '1000'),
    'play': ('--seed', '200000', '--steps', '150'),
    'edge': ('--seed', '300000', '--steps', '150'),
    'policy': ('--seed', '400000', '--steps', '150'),
}


class Study:
    """The stages of a study.

    Args:
        given: The command line.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        self.stages: list[Stage] = []
        self._given = given
        self._budget = BUDGETS[given.budget]
        self._out: Path = given.out
        self._data: Path = given.data or self._out / 'data'
        self._world_model: Path = given.world_model or self._out / 'world_model'
        self._rate = load_task(given.task).rate
        self._bases = dict(given.base)
        # The policy whose encoder the others take over, and the stage that trains it.
        self._reader: Path | None = given.encoder or next(iter(self._bases.values()), None)
        self._reader_stage = ''
        self._evaluations: list[str] = []
        self._add_data()
        for backbone in given.backbones:
            self._add_backbone(backbone)
        self._add(
            'report',
            run_of(
                'hiwm_policy', 'report', self._out / 'evaluations', '--out', self._out / 'report'
            ),
            self._out / 'report' / 'report.html',
            *self._evaluations,
            always=True,
        )

    def settings(self) -> dict[str, Any]:
        """What decides the results. Raises ConfigurationError: a folder that is given is empty."""
        given, budget = self._given, asdict(self._budget)
        for share in budget['backbones'].values():
            # More policies change nothing of the others, as more backbones do not.
            del share['other_demos']
        return {
            'task': given.task,
            'training_code': code_sha256(),
            'budget': budget,
            'weighting': given.weighting,
            'seeds': {
                'data': DATA,
                'evaluation': EVALUATION_SEED,
                'operator': OPERATOR_SEED,
                'closed_loop': CLOSED_LOOP_SEED,
            },
            'data': str(given.data.resolve()) if given.data else None,
            'world_model': _weights(given.world_model) if given.world_model else None,
            'base': {name: _weights(folder) for name, folder in self._bases.items()},
            'encoder': self._reader_stage or (_weights(self._reader) if self._reader else None),
        }

    def _add(
        self,
        name: str,
        command: Callable[[], list[str]],
        makes: Path,
        *needs: str,
        always: bool = False,
        folder: Path | None = None,
    ) -> None:
        known = {stage.name for stage in self.stages}
        before = tuple(each for each in needs if each in known)
        self.stages.append(Stage(name, command, makes, before, always, folder))

    def _add_data(self) -> None:
        budget, given = self._budget, self._given
        if given.data is None:
            for kind, options in DATA.items():
                out = self._data / kind
                command = run_of(
                    'hiwm_robot',
                    'collect',
                    *('--task', given.task, '--kind', kind, *options),
                    *('--episodes', budget.episodes[kind], '--out', out),
                    *('--json', out.with_suffix('.json')),
                )
                self._add(f'data {kind}', command, out.with_suffix('.json'))
        if given.world_model is None:
            command = run_of(
                'hiwm_world_model',
                'train',
                *('--task', given.task, '--data', self._data, '--out', self._world_model),
            )
            needs = [f'data {kind}' for kind in DATA]
            card = self._world_model / 'card.json'
            self._add('world model', command, card, *needs, folder=self._world_model)

    def _add_backbone(self, backbone: str) -> None:
        budget, share = self._budget, self._budget.backbones[backbone]
        base = self._add_base(backbone, share.demos)
        base_stage = f'{backbone} base'
        self._add_evaluations(backbone, 'base', base, base_stage)
        for count in share.other_demos:
            name = f'demos_{count}'
            folder = self._folder(backbone, name)
            stage = f'{backbone} {name}'
            self._add_training(stage, backbone, folder, count, name)
            self._add_evaluations(backbone, name, folder, stage)
        for variant, branches in (('hi_wm', 1), ('hi_wm_branching', budget.branches)):
            sessions = self._out / 'sessions' / f'{backbone}_{variant}'
            sessions_stage = f'{backbone} {variant} sessions'
            self._add_sessions(
                sessions_stage,
                base,
                sessions,
                *('--seed', OPERATOR_SEED, '--branches', branches),
                *('--operator-seconds', share.operator_seconds),
                *('--hand-back-gain', budget.hand_back_gain),
                needs=(base_stage,),
            )
            self._add_post_training(
                backbone,
                variant,
                base,
                sessions,
                options=('--variant', variant),
                needs=(sessions_stage,),
            )
        corrected = self._folder(backbone, 'hi_wm')
        sessions = self._out / 'sessions' / f'{backbone}_wm_cl'
        sessions_stage = f'{backbone} wm_cl sessions'
        self._add_sessions(
            sessions_stage,
            base,
            sessions,
            *('--seed', CLOSED_LOOP_SEED, '--branches', 0),
            # A tenth more than the operator makes, to draw from.
            *('--virtual-steps', round(1.1 * self._rate * share.operator_seconds)),
            needs=(base_stage,),
        )
        self._add_post_training(
            backbone,
            'wm_cl',
            base,
            sessions,
            options=('--wm-cl',),
            needs=(sessions_stage, f'{backbone} hi_wm'),
            as_many_as=corrected,
        )

    def _folder(self, backbone: str, variant: str) -> Path:
        return self._out / 'policies' / f'{backbone}_{variant}'

    def _add_base(self, backbone: str, demos: int) -> Path:
        """A base that is given, or a stage that trains one; returns its folder."""
        if backbone in self._bases:
            return self._bases[backbone]
        folder = self._folder(backbone, 'base')
        self._add_training(f'{backbone} base', backbone, folder, demos, 'base')
        return folder

    def _add_training(
        self, stage: str, backbone: str, folder: Path, demos: int, variant: str
    ) -> None:
        # Learning to read takes most of the time, and is the same for all.
        encoder: tuple[object, ...] = ('--pretrain', self._data)
        encoder += ('--reading-steps', self._budget.reading_steps)
        needs = tuple(f'data {kind}' for kind in DATA)
        if self._reader is not None:
            encoder = ('--encoder', self._reader)
            needs = ('data demo', self._reader_stage)
        else:
            self._reader, self._reader_stage = folder, stage
        command = run_of(
            'hiwm_policy',
            'train',
            *('--task', self._given.task, '--backbone', backbone, '--variant', variant),
            *('--data', self._data / 'demo', '--demos', demos, *encoder),
            *('--out', folder, '--cache', self._out / 'cache'),
        )
        self._add(stage, command, folder / 'card.json', *needs)

    def _add_sessions(
        self, stage: str, base: Path, out: Path, *options: object, needs: tuple[str, ...]
    ) -> None:
        command = run_of(
            'hiwm_policy',
            'correct',
            *('--task', self._given.task, '--world-model', self._world_model),
            *('--policy', base, '--out', out, '--starts', 1000, *options),
            *('--json', out.with_suffix('.json')),
        )
        self._add(stage, command, out.with_suffix('.json'), 'world model', *needs, folder=out)

    def _add_post_training(
        self,
        backbone: str,
        variant: str,
        base: Path,
        sessions: Path,
        *,
        options: tuple[str, ...],
        needs: tuple[str, ...],
        as_many_as: Path | None = None,
    ) -> None:
        folder = self._folder(backbone, variant)
        fixed = run_of(
            'hiwm_policy',
            'post_train',
            *('--task', self._given.task, '--base', base, '--demos', self._data / 'demo'),
            *('--sessions', sessions, '--out', folder, '--cache', self._out / 'cache'),
            *('--weighting', self._given.weighting, '--steps', self._budget.post_steps),
            *options,
        )

        def command() -> list[str]:
            if as_many_as is None:
                return fixed()
            card = json.loads((as_many_as / 'card.json').read_text(encoding='utf-8'))
            return [*fixed(), '--virtual-steps', str(card['post_training']['virtual_steps'])]

        stage = f'{backbone} {variant}'
        self._add(stage, command, folder / 'card.json', *needs)
        self._add_evaluations(backbone, variant, folder, stage)

    def _add_evaluations(self, backbone: str, variant: str, policy: Path, needs: str) -> None:
        for rig, options, model in (
            ('sim_arm', (), ()),
            ('world_model', ('--world-model', self._world_model), ('world model',)),
        ):
            path = self._out / 'evaluations' / f'{backbone}_{variant}.{rig}.json'
            command = run_of(
                'hiwm_policy',
                'evaluate',
                *('--task', self._given.task, '--rig', rig, *options, '--policy', policy),
                *('--episodes', self._budget.evaluated, '--seed', EVALUATION_SEED),
                *('--json', path),
            )
            stage = f'{backbone} {variant} on {rig}'
            self._add(stage, command, path, needs, *model)
            self._evaluations.append(stage)


def _weights(folder: Path) -> str:
    known = weights_sha256(folder)
    if known is None:
        raise ConfigurationError(f'{folder} holds no weights; give a folder that training wrote')
    return known


def _base(text: str) -> tuple[str, Path]:
    backbone, _, folder = text.partition('=')
    if backbone not in BACKBONES or not folder:
        raise argparse.ArgumentTypeError(f"'{text}' is not like {next(iter(BACKBONES))}=FOLDER")
    return backbone, Path(folder)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog='reproduce', description='The whole study, from data to report, without a person.'
    )
    parser.add_argument('--task', default='pusht', help='which task, by name')
    parser.add_argument('--budget', default='small', choices=tuple(BUDGETS))
    parser.add_argument('--out', type=Path, default=Path('runs/study'), help='folder of the study')
    parser.add_argument('--workers', type=int, default=2, help='processes of one thread each')
    parser.add_argument('--weighting', default='uniform', help='as of post_train')
    parser.add_argument('--backbones', nargs='+', default=list(BACKBONES), choices=tuple(BACKBONES))
    parser.add_argument('--data', type=Path, help='folder of demo, play, edge and policy; not made')
    parser.add_argument('--world-model', type=Path, help='folder of its weights; not trained')
    parser.add_argument(
        '--base', type=_base, nargs='+', default=[], metavar='BACKBONE=FOLDER', help='not trained'
    )
    parser.add_argument(
        '--encoder', type=Path, help='folder of a policy whose encoder all take over; not trained'
    )
    parser.add_argument('--list', action='store_true', help='list the stages and do nothing')
    return parser.parse_args(given)


def main() -> int:
    """Runs the command; returns its exit code."""
    given = arguments()
    # Whoever ends it ends its stages too, and they keep what they have.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return run_command(
        'reproduce', lambda: _repeat(given), 'interrupted; run the same command again to continue'
    )


def _repeat(given: argparse.Namespace) -> int:
    if given.workers < 1:
        raise ConfigurationError('--workers is 1 or more')
    path = given.out / SETTINGS_NAME
    given.backbones.sort(key=lambda name: name != _reader_of(path))
    study = Study(given)
    # Backbones that are not asked for now share the data, the world model and the encoder.
    others = [name for name in BACKBONES if name not in given.backbones]
    whole = Study(argparse.Namespace(**vars(given) | {'backbones': [*given.backbones, *others]}))
    check_settings(path, study.settings(), 'a study')
    if given.list:
        done = done_stages(whole.stages)
        for stage in study.stages:
            print(f'{"done" if stage.name in done else "    "} {stage.name}')
        return 0
    write_json(path, study.settings())
    with _alone(given.out) as lock:
        outdated = set_aside(whole.stages)
        if outdated:
            print(
                f'made from what is made anew, and kept as NAME.old: {", ".join(outdated)}',
                file=sys.stderr,
            )
        run_stages(study.stages, given.out / 'logs', given.workers, held=(lock,))
    print(f'the report is {given.out / "report" / "report.html"}')
    return 0


def _reader_of(path: Path) -> str:
    """The backbone whose base trains the encoder in the study that is there; empty without one."""
    try:
        return str(json.loads(path.read_text(encoding='utf-8'))['encoder']).split()[0]
    except (OSError, ValueError, TypeError, LookupError):
        return ''


@contextmanager
def _alone(out: Path) -> Iterator[int]:
    """Holds a study for this command and its stages; gives the lock's descriptor for them.

    Raises:
        ConfigurationError: Another one, or a stage of one that was killed, still works on it.
    """
    with (out / LOCK_NAME).open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f'{out} is being worked on, by another such command or by a stage that has '
                'outlived one; wait for it, or end it'
            ) from error
        yield file.fileno()


if __name__ == '__main__':
    sys.exit(main())
