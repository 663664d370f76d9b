# SPDX-License-Identifier: Apache-2.0
"""`ros2 run hiwm_policy post_train`: a trained policy learns from corrections as well.

1. Read the demonstrations that the base was trained on, and the sessions.
2. Draw virtual steps, at most `--virtual-share` of all steps.
3. Go on training from the base's weights on both together; each step counts as the recipe says.
   The scales, and in a body's frame the encoder, stay as they are.
4. Measure on the demonstrations that were held back, draw it, and write weights and card.

With `--preference-weight` it learns beside from pairs of branches of one fork, of which one
succeeded and the other did not; see `preference`. With `--wm-cl` it is the baseline without a
person: the same, from whole attempts that succeeded in closed loop. `--virtual-steps` makes the two
learn from equally many virtual steps.

Interrupted, the same command goes on where it stopped; nothing in it needs ROS. On several GPUs it
is `torchrun --nproc-per-node N -m hiwm_policy.post_train` with the same options; see `ranks`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
import hashlib
import math
from pathlib import Path
import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hiwm_core.action import Source
from hiwm_core.command import Parser, run_command
from hiwm_core.error import ConfigurationError
from hiwm_core.json_file import write_json
from hiwm_core.task import Task, load_task
from hiwm_core.weighting import Weighting
from hiwm_policy.acting import ActingData, train_acting
from hiwm_policy.dataset import read_demos, windows_of
from hiwm_policy.fork_pair import ForkPair, pair_windows
from hiwm_policy.model import WEIGHTS, PolicyNetwork, code_sha256, load_model, save_model
from hiwm_policy.preference import preference
from hiwm_policy.ranks import Ranks, joined_ranks
from hiwm_policy.train import READING_WEIGHT, device_name, device_of, measure, split
from hiwm_policy.virtual import Piece, frames_of, read_pieces, select, step_weights

STEPS, RATE = 3000, 5e-4
BETA = 1.0
# Of the fields of a base's card, those that are as true of what it became.
KEPT_OF_CARD = ('data',)


def post_train(given: argparse.Namespace) -> dict[str, Any] | None:
    """The whole post-training; returns the card, or None in the processes beside the first.

    Args:
        given: The command line.

    Raises:
        HiwmError: The base, the data or the device cannot be used.
    """
    task, device = load_task(given.task), device_of(given.device)
    torch.set_num_threads(1 if device.type == 'cpu' else torch.get_num_threads())
    with joined_ranks(device) as ranks:
        return _post_train(given, task, device, ranks)


def _post_train(
    given: argparse.Namespace, task: Task, device: torch.device, ranks: Ranks
) -> dict[str, Any] | None:
    network, base = load_model(given.base, task)
    try:
        given.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f'{given.out} cannot be made: {error.strerror}') from error
    if given.out.resolve() == given.base.resolve():
        raise ConfigurationError(f'--out is the base, {given.base}; name another folder')
    scheme = Weighting(given.weighting)
    demo_count = given.demo_count or int(base.get('data', {}).get('demo_episodes', 0))
    with ranks.first_before_others():
        demos = read_demos(given.demos, task, given.cache or given.out / 'cache', demo_count)
    learned, held_back = split(demos)

    demo_steps = len(learned.frames) - learned.episodes
    most = math.floor(demo_steps * given.virtual_share / (1.0 - given.virtual_share))
    if given.virtual_steps:
        most = min(most, given.virtual_steps)
    pairs: list[ForkPair] = []
    offered = read_pieces(
        given.sessions,
        task,
        scheme,
        closed_loop=given.wm_cl,
        least_fidelity=given.least_fidelity,
        pairs=pairs if given.preference_weight else None,
    )
    pieces = select(offered, most, given.seed)
    virtual_steps = sum(piece.steps for piece in pieces)

    demo_weight, each = step_weights(pieces, demo_steps, scheme)
    frames = learned.followed_by(frames_of(pieces, task))
    of_rows = np.concatenate([np.full(len(learned.frames), demo_weight), *each])
    size = network.size
    windows = windows_of(frames, size.context, size.horizon, size.chunk_steps).weighted(of_rows)
    network.train().requires_grad_(True)
    data = ActingData(network, frames, windows)
    base_sha256 = hashlib.sha256((given.base / WEIGHTS).read_bytes()).hexdigest()
    data.fingerprint += f' base {base_sha256}'
    beside, preferred = None, None
    if given.preference_weight:
        beside, preferred = _preference(given, network, pairs, device, ranks)
        data.fingerprint += f' preference {preferred}'
    phase = train_acting(
        network,
        data,
        steps=given.steps,
        seed=given.seed,
        folder=given.out,
        device=device,
        reading_weight=READING_WEIGHT,
        rate=given.rate,
        beside=beside,
        ranks=ranks,
    )
    taught = network.denoiser if network.frame is not None else network
    taught.load_state_dict(phase.averaged.state_dict())
    if not ranks.first:
        return None
    network.cpu().float()
    card = {
        'variant': 'wm_cl' if given.wm_cl else given.variant,
        **{name: base[name] for name in KEPT_OF_CARD if name in base},
        'post_training': {
            'base': given.base.name,
            'base_weights_sha256': base_sha256,
            'weighting': scheme.value,
            'demo_steps': demo_steps,
            'virtual_steps': virtual_steps,
            'virtual_share': round(virtual_steps / (virtual_steps + demo_steps), 4),
            'virtual_share_allowed': given.virtual_share,
            'sampled_share': round(_sampled_share(windows.weights, windows.episodes, learned), 4),
            'least_fidelity': given.least_fidelity,
            'sessions': [folder.name for folder in given.sessions],
            'offered_steps': sum(piece.steps for piece in offered),
            'preference': preferred,
            **_described(pieces, task.rate),
            'start_seeds': sorted(
                {
                    *base.get('post_training', {}).get('start_seeds', ()),
                    *(piece.episode.seed for piece in pieces),
                    *(pair.good.seed for pair in pairs),
                }
            ),
        },
        'seed': given.seed,
        'steps': {'acting': phase.steps},
        'loss': {'acting': round(phase.loss, 6)},
        'seconds': {'acting': round(phase.seconds, 1)},
        'device': device_name(device),
        'processes': ranks.count,
        'metrics': measure(task, network, held_back, given.out / 'chunks.png'),
        'training_code_sha256': code_sha256(),
    }
    save_model(network, given.out, card)
    return card


def _preference(
    given: argparse.Namespace,
    network: PolicyNetwork,
    pairs: Sequence[ForkPair],
    device: torch.device,
    ranks: Ranks,
) -> tuple[Callable[[torch.Generator], Tensor], dict[str, Any]]:
    """The loss of pairs, and what the card says of them."""
    where = ', '.join(map(str, given.sessions))
    if not pairs:
        raise ConfigurationError(
            f'{where}: no fork has a branch that succeeded and one that did not, so there is no '
            'pair to learn from; label such branches, or leave out --preference-weight'
        )
    frames, windows, counted = pair_windows(pairs, network.task, network.size)
    if not len(counted):
        raise ConfigurationError(
            f'{where}: the {len(pairs)} pairs of branches differ only where the arm was handed '
            'over; correct for longer, or leave out --preference-weight'
        )
    data = ActingData(network, frames, windows)
    weight, beta = given.preference_weight, given.preference_beta
    loss = preference(
        network,
        data,
        torch.from_numpy(counted),
        weight=weight,
        beta=beta,
        device=device,
        ranks=ranks,
    )
    forks = {(pair.good.session, int(pair.good.nodes[pair.shared])) for pair in pairs}
    return loss, {
        'pairs': len(pairs),
        'forks': len(forks),
        'windows': len(counted),
        'weight': weight,
        'beta': beta,
        'data_sha256': data.fingerprint,
    }


def _sampled_share(weights: Any, episodes: Any, learned: Any) -> float:
    """The share of the sampling mass that falls on virtual windows."""
    virtual = weights[episodes >= learned.episodes].sum()
    return float(virtual / weights.sum())


def _described(pieces: Sequence[Piece], rate: float) -> dict[str, Any]:
    """For the card: how much there is of what."""
    driven = [piece for piece in pieces if piece.corrected]
    operator_steps = sum(
        int((piece.episode.sources[piece.taken] == Source.OPERATOR).sum()) for piece in driven
    )
    return {
        'pieces': len(pieces),
        'corrections': len({(piece.episode.session, piece.episode.parent) for piece in driven}),
        'branches': len(driven),
        'operator_steps': operator_steps,
        'operator_seconds': round(operator_steps / rate, 1),
    }


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog='post_train', description='Post-train a policy on demonstrations and sessions.'
    )
    parser.add_argument('--task', default='pusht', help='which task, by name')
    parser.add_argument('--base', type=Path, required=True, help='folder of the trained policy')
    parser.add_argument('--demos', type=Path, required=True, help='folder of demonstrations')
    parser.add_argument(
        '--sessions', type=Path, nargs='+', required=True, help='folders of recorded sessions'
    )
    parser.add_argument('--out', type=Path, required=True, help='where the weights go')
    parser.add_argument(
        '--weighting', default='uniform', choices=[scheme.value for scheme in Weighting]
    )
    parser.add_argument(
        '--virtual-share', type=float, default=0.35, help='most of all steps, below 1'
    )
    parser.add_argument(
        '--virtual-steps', type=int, default=0, help='most virtual steps; 0: by the share alone'
    )
    parser.add_argument(
        '--wm-cl', action='store_true', help='nobody corrects: successful closed-loop attempts only'
    )
    parser.add_argument(
        '--variant', default='hi_wm', help='what reports call a policy that learned from sessions'
    )
    parser.add_argument(
        '--least-fidelity', type=float, default=0.0, help='of frames to learn from, 0 to 1'
    )
    parser.add_argument(
        '--preference-weight',
        type=float,
        default=0.0,
        help='of the loss of pairs of good and bad branches of one fork; 0: without pairs',
    )
    parser.add_argument(
        '--preference-beta',
        type=float,
        default=BETA,
        help='of that loss: the smaller, the farther the policy may go from the base',
    )
    parser.add_argument(
        '--demo-count', type=int, default=0, help="how many demonstrations; 0: as the base's card"
    )
    parser.add_argument('--steps', type=int, default=STEPS, help='of training')
    parser.add_argument('--rate', type=float, default=RATE, help='the highest learning rate')
    parser.add_argument('--seed', type=int, default=0, help='of all randomness')
    parser.add_argument('--device', default='auto', choices=('auto', 'cpu', 'cuda'))
    parser.add_argument('--cache', type=Path, help='folder for what was read; default: OUT/cache')
    parser.add_argument('--json', type=Path, help='where a copy of the card goes')
    return parser.parse_args(given)


def check(given: argparse.Namespace) -> None:
    """Raises ConfigurationError if a number of the command line lies outside its range."""
    if given.steps < 1 or min(given.virtual_steps, given.demo_count, given.seed) < 0:
        raise ConfigurationError(
            '--steps is 1 or more; --virtual-steps, --demo-count and --seed are 0 or more'
        )
    if not 0.0 < given.virtual_share < 1.0:
        raise ConfigurationError(f'--virtual-share lies between 0 and 1, not {given.virtual_share}')
    if not (given.preference_weight >= 0.0 and given.preference_beta > 0.0):
        raise ConfigurationError('--preference-weight is 0 or more, --preference-beta above 0')
    if not given.rate > 0.0 or not 0.0 <= given.least_fidelity <= 1.0:
        raise ConfigurationError('--rate is above 0, --least-fidelity from 0 to 1')


def main() -> int:
    """Runs the command; returns its exit code."""
    given = arguments()
    return run_command(
        'post_train',
        lambda: _learn(given),
        'interrupted; run the same command again to continue from the last checkpoint',
    )


def _learn(given: argparse.Namespace) -> int:
    check(given)
    card = post_train(given)
    if card is None:
        return 0
    if given.json is not None:
        write_json(given.json, card)
    facts = card['post_training']
    print(
        f'{given.out}: {facts["virtual_steps"]} virtual steps of {facts["pieces"]} pieces beside '
        f'{facts["demo_steps"]} demonstrated ones ({facts["virtual_share"]:.1%})'
    )
    return 0 if all(math.isfinite(value) for value in card['loss'].values()) else 1


if __name__ == '__main__':
    sys.exit(main())
