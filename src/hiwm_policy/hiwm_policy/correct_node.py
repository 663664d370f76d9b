# SPDX-License-Identifier: Apache-2.0
"""`ros2 run hiwm_policy correct`: sessions in a world model, corrected without a person.

For every start the base policy rolls out in the world model, and the scripted operator, which sees
only frames, corrects what goes wrong (`hiwm_policy.correction`). Each start becomes a session bag
like that of a live session: frames, states, proposals, what was executed and by whom, the
multiplexer's phases, branches and labels; post-training reads it as any other.

It ends after `--starts`, or when the operator's time or the virtual steps are used up. With
`--branches 0` nobody corrects. The same command goes on with an interrupted collection, and makes
the same sessions on the same machine and build. Bags are written with ROS's message types; no graph
is needed, and no clock runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
import math
from pathlib import Path
import sys
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from hiwm_core.backend import Backend
from hiwm_core.command import Parser, run_command
from hiwm_core.error import ConfigurationError
from hiwm_core.extension import load_backend, open_policy
from hiwm_core.json_file import write_json
from hiwm_core.policy import Policy
from hiwm_core.task import Task, load_task
from hiwm_policy.correction import Practice, practise
from hiwm_policy.practice_session import Tally, read_tally, session_folder, write_session
from hiwm_policy.settings import check_settings, weights_sha256
from hiwm_robot.scripted_operator import Habits

SETTINGS_NAME = 'correct.json'
# What the operator is told in numbers.
LIMITS = ('rollback', 'most_steps', 'hand_back_gain', 'operator_seconds')


class Collection:
    """The sessions of one command, and what may still be spent."""

    def __init__(self, given: argparse.Namespace, task: Task) -> None:
        self.tallies: list[Tally] = []
        self._given, self._task = given, task

    @property
    def operator_steps(self) -> int:
        return sum(tally.operator_steps for tally in self.tallies)

    @property
    def successful_steps(self) -> int:
        return sum(tally.steps for tally in self.tallies if tally.success)

    @property
    def full(self) -> bool:
        """Whether what was asked for is there."""
        given = self._given
        return (
            len(self.tallies) >= given.starts
            or (given.virtual_steps > 0 and self.successful_steps >= given.virtual_steps)
            or (
                given.operator_seconds > 0.0
                and self.steps_left() < self._task.rate  # no correction is shorter than a second
            )
        )

    def steps_left(self) -> int:
        """What the operator may still drive; without a limit more than they ever could."""
        if self._given.operator_seconds <= 0.0:
            return sys.maxsize
        return math.floor(self._given.operator_seconds * self._task.rate) - self.operator_steps

    def afford(self, practice: Practice) -> Practice:
        """The practice without the corrections for which the operator has no time left."""
        left, kept = self.steps_left(), []
        for correction in practice.corrections:
            if len(correction.actions) <= left:
                kept.append(correction)
                left -= len(correction.actions)
        return Practice(practice.attempt, practice.reason, kept)


def batches(given: argparse.Namespace) -> Iterator[range]:
    """The seeds of the starts, so many at a time."""
    for first in range(given.seed, given.seed + given.starts, given.batch):
        yield range(first, min(first + given.batch, given.seed + given.starts))


def correct(given: argparse.Namespace) -> dict[str, Any]:
    """The whole collection; returns its figures. Raises HiwmError."""
    torch.set_num_threads(1)
    task = load_task(given.task)
    backend: Backend = load_backend(given.rig, task, given.world_model)
    policy: Policy = open_policy(task, str(given.policy))
    prepare(given)
    habits = Habits(
        rollback_steps=given.rollback,
        most_steps=given.most_steps,
        hand_back_gain=given.hand_back_gain,
    )
    collection = Collection(given, task)
    with tqdm(total=given.starts, desc=f'{task.name} in {given.rig}', unit='start') as bar:
        for seeds in batches(given):
            known = {seed: read_tally(session_folder(given.out, seed)) for seed in seeds}
            practices: dict[int, Practice] = {}
            if any(tally is None for tally in known.values()):
                # All of them: what one becomes may depend, in its last bits, on the others.
                made = practise(
                    task, backend, policy, seeds, branches=given.branches, habits=habits
                )
                practices = {practice.attempt.seed: practice for practice in made}
            for seed in seeds:
                if collection.full:
                    break
                tally = known[seed]
                if tally is None:
                    practice = collection.afford(practices[seed])
                    tally = write_session(given.out, task, backend.name, policy.name, practice)
                collection.tallies.append(tally)
                bar.update()
                bar.set_postfix_str(
                    f'operator {collection.operator_steps / task.rate:.0f} s, '
                    f'corrected {sum(each.corrected for each in collection.tallies)}'
                )
            if collection.full:
                break
    return figures(given, task, collection)


def prepare(given: argparse.Namespace) -> None:
    """Make the folder, or check that what it holds was made with the same settings."""
    settings = {
        name: str(getattr(given, name))
        for name in ('task', 'rig', 'policy', 'world_model', 'seed', 'batch', 'branches')
    } | {name: getattr(given, name) for name in LIMITS}
    # A folder may hold other weights than it did when the collection was begun.
    settings |= {
        'policy_weights': weights_sha256(given.policy),
        'world_model_weights': weights_sha256(given.world_model),
    }
    path = given.out / SETTINGS_NAME
    check_settings(path, settings, 'sessions')
    write_json(path, settings)


def figures(given: argparse.Namespace, task: Task, collection: Collection) -> dict[str, Any]:
    """For `--json`."""
    tallies = collection.tallies
    return {
        'task': task.name,
        'rig': given.rig,
        'policy': given.policy.name,
        'first_seed': given.seed,
        'starts': len(tallies),
        'branches_of_a_failure': given.branches,
        'attempts_done': sum(tally.success for tally in tallies),
        'steps_of_attempts_done': collection.successful_steps,
        'failures_corrected': sum(tally.corrections > 0 for tally in tallies),
        'corrections': sum(tally.corrections for tally in tallies),
        'corrections_done': sum(tally.corrected for tally in tallies),
        'operator_steps': collection.operator_steps,
        'operator_seconds': collection.operator_steps / task.rate,
        'virtual_steps': int(np.sum([tally.steps for tally in tallies], dtype=np.int64)),
    }


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog='correct', description='Correct a policy in a world model by a scripted operator.'
    )
    parser.add_argument('--task', default='pusht', help='which task, by name')
    parser.add_argument('--rig', default='world_model', help='world_model, or any backend')
    parser.add_argument('--world-model', type=Path, help='folder of the weights of the rig')
    parser.add_argument('--policy', type=Path, required=True, help='folder of the base policy')
    parser.add_argument('--out', type=Path, required=True, help='folder for the sessions')
    parser.add_argument('--starts', type=int, default=100, help='most starts')
    parser.add_argument('--seed', type=int, default=50_000_000, help='of the first start')
    parser.add_argument(
        '--branches', type=int, default=3, help='corrections of a failure; 0: nobody corrects'
    )
    parser.add_argument(
        '--rollback', type=int, default=20, help='steps back; the second branch twice as far, ...'
    )
    parser.add_argument('--most-steps', type=int, default=150, help='of one correction')
    parser.add_argument(
        '--hand-back-gain',
        type=float,
        default=0.0,
        help='a correction ends once it has gained so much progress; 0: once the task is done',
    )
    parser.add_argument(
        '--operator-seconds', type=float, default=0.0, help='most driving time; 0: no limit'
    )
    parser.add_argument(
        '--virtual-steps',
        type=int,
        default=0,
        help='end when attempts that are done have so many steps; 0: no such end',
    )
    parser.add_argument('--batch', type=int, default=16, help='starts in one forward pass')
    parser.add_argument('--json', type=Path, help='where the figures go')
    return parser.parse_args(given)


def check(given: argparse.Namespace) -> None:
    """Raises ConfigurationError if a number of the command line lies outside its range."""
    if min(given.starts, given.batch, given.most_steps) < 1:
        raise ConfigurationError('--starts, --batch and --most-steps are 1 or more')
    if min(given.branches, given.rollback, given.virtual_steps, given.seed) < 0:
        raise ConfigurationError('--branches, --rollback, --virtual-steps and --seed are 0 or more')
    if not 0.0 <= given.hand_back_gain < math.inf:
        raise ConfigurationError('--hand-back-gain is 0 or more')


def main() -> int:
    """Runs the command; returns its exit code."""
    given = arguments()
    return run_command(
        'correct', lambda: _collect(given), 'interrupted; run the same command again to continue'
    )


def _collect(given: argparse.Namespace) -> int:
    check(given)
    facts = correct(given)
    if given.json is not None:
        write_json(given.json, facts)
    print(
        f'{facts["starts"]} starts in {given.out}: {facts["attempts_done"]} done by the policy, '
        f'{facts["corrections_done"]} of {facts["corrections"]} corrections done, '
        f'{facts["operator_seconds"]:.0f} s of the operator'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
