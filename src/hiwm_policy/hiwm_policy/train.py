# SPDX-License-Identifier: Apache-2.0
"""`ros2 run hiwm_policy train`: demonstrations in bags to a policy.

1. Read the bags, once; hold every twentieth demonstration back.
2. Reading: the encoder learns to see the task's landmarks (if the episodes know their scene), from
   the demonstrations or, with --pretrain, from any episodes at all: play, failures, more
   demonstrations. Only their frames are looked at, never their actions, and none that is held back.
   With --encoder it is that of a policy that has learned to read already, of whatever backbone;
   what that one has learned from is not known here, so nothing is claimed of how well it reads.
3. Acting: the denoiser learns the demonstrations' action chunks.
4. Measure on what was held back, draw it, and write weights and card.

Interrupted, the same command goes on where it stopped; nothing in it needs ROS. On several GPUs it
is `torchrun --nproc-per-node N -m hiwm_policy.train` with the same options; see `ranks`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import copy
import math
from pathlib import Path
import sys
from typing import Any

from matplotlib.figure import Figure
import numpy as np
from numpy.typing import NDArray
import torch

from hiwm_core.command import Parser
from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.json_file import write_json
from hiwm_core.observation import Observation
from hiwm_core.task import Task, load_task
from hiwm_policy.acting import ActingData, known_landmarks, train_acting
from hiwm_policy.backbone import BACKBONES, backbone_of
from hiwm_policy.dataset import Frames, read_demos, read_play, windows_of
from hiwm_policy.frame import body_frame
from hiwm_policy.landmark import landmarks_of
from hiwm_policy.model import PolicyNetwork, code_sha256, load_model, read_frames, save_model
from hiwm_policy.policy import NetworkPolicy
from hiwm_policy.ranks import Ranks, joined_ranks, local_rank
from hiwm_policy.reading import train_reading
from hiwm_policy.size import Size

HELD_BACK = 0.05
# Neighbouring play frames are nearly the same picture.
PLAY_STRIDE = 3
READING_WEIGHT = 1.0
# Held-back windows that are measured.
MEASURED = 200


def train(given: argparse.Namespace, size: Size | None = None) -> dict[str, Any] | None:
    """The whole training; returns the card, or None in the processes beside the first.

    Args:
        given: The command line.
        size: Of the network; None: what suits the task and the demonstrations.

    Raises:
        HiwmError: The task, the data or the device cannot be used.
    """
    task, device = load_task(given.task), device_of(given.device)
    torch.set_num_threads(1 if device.type == 'cpu' else torch.get_num_threads())
    with joined_ranks(device) as ranks:
        return _train(given, size, task, device, ranks)


def _train(
    given: argparse.Namespace, size: Size | None, task: Task, device: torch.device, ranks: Ranks
) -> dict[str, Any] | None:
    try:
        given.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f'{given.out} cannot be made: {error.strerror}') from error
    cache = given.cache or given.out / 'cache'
    pretrained = given.pretrain is not None and given.encoder is None
    with ranks.first_before_others():
        demos = read_demos(given.data, task, cache, given.demos)
        seen = read_play(given.pretrain, task, cache, PLAY_STRIDE) if pretrained else demos
    learned, held_back = split(demos)

    torch.manual_seed(given.seed)
    landmarks = landmarks_of(task)
    reads = landmarks is not None and knows_scene(task, seen) and given.reading_steps > 0
    # Acting in a body's frame takes an encoder that sees it, and demonstrations that know it.
    framed = reads and knows_scene(task, demos) and body_frame(task) is not None
    network = PolicyNetwork(task, size or backbone_of(given.backbone).size(framed=framed))
    common = {'seed': given.seed, 'folder': given.out, 'device': device, 'ranks': ranks}
    phases = {}
    data_card: dict[str, Any] = {
        'demos': given.data.name,
        'demo_episodes': demos.episodes,
        'demo_steps': int(len(demos.frames) - demos.episodes),
        'demo_seeds': [int(demos.seeds.min()), int(demos.seeds.max())],
        'held_back_episodes': held_back.episodes,
        'pretrain': None,
        'encoder': None,
    }
    if given.encoder is not None:
        known, encoder_card = load_model(given.encoder, task)
        data_card['encoder'] = encoder_card['weights_sha256']
        try:
            network.encoder.load_state_dict(known.encoder.state_dict())
        except RuntimeError as error:
            raise ConfigurationError(
                f'the encoder of {given.encoder} has another size than that of the new policy'
            ) from error
    elif landmarks is not None and reads:
        rows = (
            seen.rows_without({int(seed) for seed in held_back.seeds if seed >= 0})
            if pretrained
            else np.arange(len(learned.frames))
        )
        data_card |= {
            'pretrain': given.pretrain.name if pretrained else None,
            'reading_episodes': seen.episodes,
            'reading_frames': len(rows),
        }
        phase = train_reading(
            network.encoder, landmarks, seen, rows, steps=given.reading_steps, **common
        )
        network.encoder.load_state_dict(phase.averaged.state_dict())
        phases['reading'] = phase

    size = network.size
    windows = windows_of(learned, size.context, size.horizon, size.chunk_steps)
    data = ActingData(network, learned, windows)
    data.fit_scales()
    phase = train_acting(network, data, steps=given.steps, reading_weight=READING_WEIGHT, **common)
    taught = network.denoiser if network.frame is not None else network
    taught.load_state_dict(phase.averaged.state_dict())
    phases['acting'] = phase
    if not ranks.first:
        return None

    network.cpu().float()
    picture = given.out / 'chunks.png'
    metrics = measure(task, network, held_back, picture, unseen=given.encoder is None)
    card = {
        'variant': given.variant,
        'data': data_card,
        'seed': given.seed,
        'steps': {name: phase.steps for name, phase in phases.items()},
        'loss': {name: round(phase.loss, 6) for name, phase in phases.items()},
        'seconds': {name: round(phase.seconds, 1) for name, phase in phases.items()},
        'device': device_name(device),
        'processes': ranks.count,
        'metrics': metrics,
        'training_code_sha256': code_sha256(),
    }
    save_model(network, given.out, card)
    return card


def knows_scene(task: Task, frames: Frames) -> bool:
    """Whether the episodes carry every scene variable of the task."""
    return bool(task.scene) and frames.scene.shape[1] == len(task.scene)


def split(frames: Frames) -> tuple[Frames, Frames]:
    """What is learned and what is held back: the last episodes, at least one."""
    count = max(1, round(HELD_BACK * frames.episodes))
    if count >= frames.episodes:
        return frames, frames
    return frames.part(0, frames.episodes - count), frames.part(
        frames.episodes - count, frames.episodes
    )


def measure(
    task: Task,
    network: PolicyNetwork,
    held_back: Frames,
    picture: Path,
    *,
    unseen: bool = False,
) -> dict[str, Any]:
    """How well chunks and landmarks of held-back demonstrations are predicted, from frames.

    Args:
        picture: Where the chunks are drawn.
        unseen: The encoder has not learned from these frames; else nothing is said of landmarks.
    """
    metrics: dict[str, Any] = {}
    wanted = known_landmarks(network, held_back) if unseen else None
    if wanted is not None:
        landmarks = landmarks_of(task)
        assert landmarks is not None
        _, read = read_frames(network.encoder, held_back.frames, torch.device('cpu'))
        away = np.linalg.norm((read.numpy() - wanted) * landmarks.extent, axis=-1)
        metrics['landmark_error_m'] = {
            'median': round(float(np.median(away)), 6),
            'p90': round(float(np.quantile(away, 0.9)), 6),
        }
    size = network.size
    windows = windows_of(held_back, size.context, size.horizon, size.chunk_steps)
    policy = NetworkPolicy(task, copy.deepcopy(network))
    rows = np.linspace(0, len(windows.episodes) - 1, min(MEASURED, len(windows.episodes)))
    wanted_chunks, chunks, joints = [], [], []
    for row in rows.astype(int):
        history = [
            Observation(held_back.frames[place], held_back.joints[place].astype(np.float64))
            for place in windows.observations[row]
        ]
        chunks.append(policy.chunk(history, int(row)))
        wanted_chunks.append(held_back.actions[windows.actions[row]])
        joints.append(history[-1].joints)
    errors = np.abs(np.array(chunks) - np.array(wanted_chunks))[:, : size.chunk_steps]
    metrics['chunk_error'] = {
        variable.name: {'unit': variable.unit, 'median': round(float(value), 6)}
        for variable, value in zip(task.actions, np.median(errors, axis=(0, 1)), strict=True)
    }
    draw(task, np.array(chunks), np.array(wanted_chunks), picture)
    return metrics


def draw(task: Task, chunks: NDArray[np.float64], wanted: NDArray[np.float64], path: Path) -> None:
    """Predicted against demonstrated chunks (N, Tp, A): every action, a row of windows each."""
    shown = np.linspace(0, len(chunks) - 1, min(8, len(chunks))).astype(int)
    figure = Figure(figsize=(1.7 * len(shown), 1.4 * len(task.actions) + 0.4))
    axes = figure.subplots(len(task.actions), len(shown), squeeze=False, sharex=True)
    for row, variable in enumerate(task.actions):
        axes[row, 0].set_ylabel(f'{variable.name} [{variable.unit}]', fontsize=7)
        for column, window in enumerate(shown):
            axis = axes[row, column]
            axis.plot(wanted[window, :, row], 'k-', linewidth=2, label='demonstrated')
            axis.plot(chunks[window, :, row], 'r--', label='predicted')
            axis.tick_params(labelsize=6)
    axes[0, 0].legend(fontsize=6)
    figure.suptitle(f'{task.name}: chunks of held-back demonstrations, by step', fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def device_of(name: str) -> torch.device:
    """The device of a name; `auto` is a GPU if there is one. Raises ConfigurationError.

    Of several processes that train together each gets a GPU of its own.
    """
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    if name == 'cuda' and not torch.cuda.is_available():
        raise ConfigurationError('there is no CUDA device here; use --device cpu')
    if name == 'cuda':
        if local_rank() >= torch.cuda.device_count():
            raise ConfigurationError(
                f'there are {torch.cuda.device_count()} GPUs here; start as many processes at most'
            )
        torch.cuda.set_device(local_rank())
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """For the card."""
    if device.type == 'cuda':
        return str(torch.cuda.get_device_name(device))
    return f'{torch.cpu.get_capabilities().get("cpu_name", "cpu")}, 1 thread'


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(prog='train', description='Train a policy from bags.')
    parser.add_argument('--task', default='pusht', help='which task, by name')
    parser.add_argument('--backbone', default='diffusion', choices=tuple(BACKBONES))
    parser.add_argument('--data', type=Path, required=True, help='folder of demonstrations')
    parser.add_argument('--out', type=Path, required=True, help='where the weights go')
    parser.add_argument('--seed', type=int, default=0, help='of all randomness')
    parser.add_argument('--variant', default='base', help='what reports call the policy')
    parser.add_argument('--demos', type=int, default=0, help='how many to use; 0: all')
    parser.add_argument('--device', default='auto', choices=('auto', 'cpu', 'cuda'))
    parser.add_argument('--steps', type=int, default=4000, help='of the denoiser')
    parser.add_argument('--reading-steps', type=int, default=2500, help='of the encoder')
    parser.add_argument(
        '--pretrain', type=Path, help='folder of any episodes, whose frames teach the encoder'
    )
    parser.add_argument('--cache', type=Path, help='folder for what was read; default: OUT/cache')
    parser.add_argument(
        '--encoder', type=Path, help='folder of a policy whose encoder is taken over as it is'
    )
    parser.add_argument('--json', type=Path, help='where a copy of the card goes')
    return parser.parse_args(given)


def main() -> int:
    """Runs the command; returns its exit code."""
    given = arguments()
    try:
        if given.steps < 1 or given.reading_steps < 0 or given.demos < 0 or given.seed < 0:
            raise ConfigurationError(
                '--steps is 1 or more; --reading-steps, --demos and --seed are 0 or more'
            )
        card = train(given)
        if card is None:
            return 0
        if given.json is not None:
            write_json(given.json, card)
    except HiwmError as error:
        print(f'train: {error.message}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            'train: interrupted; run the same command again to continue from the last checkpoint',
            file=sys.stderr,
        )
        return 130
    errors = card['metrics']['chunk_error']
    print(
        f'{given.out}: median error of the executed actions '
        + ', '.join(
            f'{name} {value["median"]:.4f} {value["unit"]}' for name, value in errors.items()
        )
    )
    return 0 if all(math.isfinite(value) for value in card['loss'].values()) else 1


if __name__ == '__main__':
    sys.exit(main())
