# SPDX-License-Identifier: Apache-2.0
"""Train a world model from recorded episodes: `ros2 run hiwm_world_model train`.

Interrupted, the same command continues to the same weights. Everything is written into the folder
of `--out`; see `training` for the stages.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
import json
from pathlib import Path
import sys
from typing import Any

import torch

from hiwm_core.bag_reader import find_bags
from hiwm_core.command import Parser
from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.task import load_task
from hiwm_core.whole_file import write_whole
from hiwm_world_model.backend import WorldModelBackend
from hiwm_world_model.dataset import cached_dataset
from hiwm_world_model.evaluate import Plan, evaluate, table
from hiwm_world_model.training import CODE_SHA256, Settings, Training
from hiwm_world_model.weights import save_model


def pick_device(name: str) -> torch.device:
    """The device asked for; `auto` takes a GPU if there is one. Raises ConfigurationError."""
    if name == 'cuda' and not torch.cuda.is_available():
        raise ConfigurationError('a GPU was asked for (--device cuda) and there is none to use')
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    return torch.device(name)


def train(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and export; returns the card's facts."""
    task = load_task(arguments.task)
    device = pick_device(arguments.device)
    settings = Settings(
        arguments.seed,
        arguments.servo_steps,
        arguments.dynamics_steps,
        arguments.decoder_steps,
        arguments.encoder_steps,
        arguments.heads_steps,
        arguments.pictures,
    )
    out: Path = arguments.out
    if arguments.heldout:
        # Now, and not when the training is over.
        find_bags(arguments.heldout)
    dataset = cached_dataset(arguments.data, task, settings.seed, settings.pictures, out)
    training = Training(task, dataset, settings, out, device)
    training.run()
    training.save_sample()
    model = training.model.cpu().freeze()
    facts: dict[str, Any] = {
        'data': dataset.describe(),
        'settings': asdict(settings),
        'final_losses': training.fit.losses,
        'seconds': training.fit.seconds,
        'wall_seconds': round(sum(training.fit.seconds.values()), 1),
        'device': torch.cuda.get_device_name() if device.type == 'cuda' else 'cpu, one thread',
        'torch': torch.__version__,
        'code_sha256': CODE_SHA256,
    }
    save_model(out, model, facts)
    if arguments.heldout:
        plan = Plan(settings.seed, episodes=40, play_steps=0, data=arguments.heldout, pictures=out)
        measured = evaluate(task, WorldModelBackend(model), plan)
        facts['metrics'] = measured['kinds']
        save_model(out, model, facts)
    return facts


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, not '{text}'")
    return int(text)


def main() -> int:
    """The command. Returns 0, 1 after a sentence on stderr, or 130 after an interrupt."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument('--task', default='pusht', help='which task, by name')
    parser.add_argument('--data', type=Path, required=True, help='folder of bags to learn from')
    parser.add_argument('--heldout', type=Path, help='folder of bags to measure on')
    parser.add_argument('--out', type=Path, required=True, help='folder for all that is written')
    parser.add_argument('--seed', type=_seed, default=0, help='of every draw')
    parser.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto')
    parser.add_argument('--servo-steps', type=int, default=400)
    parser.add_argument('--dynamics-steps', type=int, default=5000)
    parser.add_argument('--decoder-steps', type=int, default=600)
    parser.add_argument('--encoder-steps', type=int, default=1500)
    parser.add_argument('--heads-steps', type=int, default=24000)
    parser.add_argument('--pictures', type=int, default=12000, help='camera frames kept, at most')
    parser.add_argument('--json', type=Path, help="write the card's facts here as well")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        facts = train(arguments)
        if arguments.json:
            write_whole(arguments.json, (json.dumps(facts, indent=2) + '\n').encode())
    except HiwmError as error:
        print(f'train: {error.message}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('train: interrupted; run the same command again to continue', file=sys.stderr)
        return 130
    if 'metrics' in facts:
        print(table(facts['metrics']))
    return 0


def command() -> None:
    """The executable `train`."""
    sys.exit(main())


if __name__ == '__main__':
    command()
