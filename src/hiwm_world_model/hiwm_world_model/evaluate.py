# SPDX-License-Identifier: Apache-2.0
"""Measure a world model open loop beside recorded episodes: `ros2 run hiwm_world_model evaluate`.

The model starts from each episode's first scene and gets its actions; its poses and frames are
compared with what was recorded. Written as JSON, as a picture of the drift over the steps and as a
strip.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
import json
from pathlib import Path
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from tqdm import tqdm

from hiwm_core.episodes import Episode, read_episodes
from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.task import Task, load_task
from hiwm_world_model.model import Latent, WorldModel
from hiwm_world_model.pictures import save_drift, save_strip
from hiwm_world_model.rollout import auroc, pose_errors, psnr, unroll
from hiwm_world_model.weights import load_model, write_whole

STEPS = (1, 5, 20, 50, 100, 200)
UNITS = {'agent_px': 'px', 't_px': 'px', 't_deg': 'degrees', 'psnr_db': 'dB'}
BASELINES = {'psnr_copy_first_db': 'dB', 'psnr_mean_frame_db': 'dB'}
HEADS = {'progress_error': ''}
# A prediction counts as wrong for the fidelity estimate from this share of the picture's width on.
WRONG_SHARE = 1.0 / 12.0
LONGEST = 300
STRIP_FRAMES = 12

Curves = dict[str, NDArray[np.float64]]


def roll_out(
    model: WorldModel, episode: Episode, seed: int, number: int, mean_frame: NDArray[np.uint8]
) -> tuple[Curves, NDArray[np.uint8]]:
    """Curves (steps + 1,) of every measure over one episode, and the predicted frames."""
    count = min(len(episode.actions), LONGEST)
    scene = torch.from_numpy(episode.scene[: count + 1].astype(np.float32))
    actions = torch.from_numpy(episode.actions[:count].astype(np.float32))
    with torch.inference_mode():
        latents = unroll(model, scene[:1], actions[None], seed + number)
        path = Latent(
            torch.cat([latent.scene for latent in latents]),
            torch.cat([latent.velocity for latent in latents]),
        )
        shown = path.shown
        frames = model.decode(shown)
        fidelity = model.fidelity(path, frames)
        progress, _ = model.heads(shown)
    errors = pose_errors(model, shown, scene)
    true = episode.frames[: count + 1]
    curves = {
        'agent_px': errors.driven_px,
        't_px': errors.other_px,
        't_deg': errors.other_deg,
        'psnr_db': psnr(frames.numpy(), true),
        'psnr_copy_first_db': psnr(true[:1], true),
        'psnr_mean_frame_db': psnr(mean_frame, true),
        'progress_error': np.abs(progress.numpy() - episode.progress[: count + 1]),
        'fidelity': fidelity.double().numpy(),
    }
    return curves, frames.numpy()


def evaluate(
    task: Task,
    model: WorldModel,
    data: Path,
    *,
    seed: int,
    episodes: int,
    pictures: Path | None,
) -> dict[str, Any]:
    """Roll out beside episodes.

    Args:
        task: What is imagined.
        model: On the CPU, frozen.
        data: Folder of bags that the model was not trained on.
        seed: Of the choice of episodes and of the model's keys.
        episodes: How many of each kind, at most.
        pictures: Folder for `drift.png` and `strip.png`; None for none.

    Raises:
        HiwmError: There is no bag, or none with a scene.
    """
    chosen = _choose(task, data, seed, episodes)
    mean_frame = np.mean([episode.frames.mean(0) for episode in chosen], axis=0).astype(np.uint8)
    curves: dict[str, list[Curves]] = {}
    for number, episode in enumerate(tqdm(chosen, desc='evaluating', unit='episode')):
        found, frames = roll_out(model, episode, seed, number, mean_frame)
        curves.setdefault(episode.kind, []).append(found)
        if number == 0 and pictures is not None:
            shown = np.linspace(0, len(frames) - 1, STRIP_FRAMES).astype(int)
            save_strip(pictures / 'strip.png', [episode.frames[shown], frames[shown]])
    curves['all'] = [found for kind in list(curves) for found in curves[kind]]
    result: dict[str, Any] = {
        'task': task.name,
        'seed': seed,
        'kinds': {
            kind: summary(found, WRONG_SHARE * task.camera.width) for kind, found in curves.items()
        },
    }
    result.update(result['kinds']['all'])
    if pictures is not None:
        save_drift(
            pictures / 'drift.png',
            {
                measure: {kind: _table(found, measure) for kind, found in curves.items()}
                for measure in UNITS
            },
            UNITS,
        )
    return result


def summary(found: list[Curves], wrong_px: float) -> dict[str, Any]:
    """Median and 90th percentile of every measure after each of STEPS that an episode reaches.

    Args:
        found: One episode's curves each.
        wrong_px: From what error on a prediction is wrong; fidelity should tell.
    """
    result: dict[str, Any] = {'episodes': len(found)}
    for measure in (*UNITS, *BASELINES, *HEADS):
        table = _table(found, measure)
        result[measure] = {}
        for step in STEPS:
            if step >= table.shape[1]:
                break
            values = table[np.isfinite(table[:, step]), step]
            if len(values):
                p50, p90 = np.percentile(values, [50, 10 if measure.endswith('_db') else 90])
                entry = {'p50': round(float(p50), 4), 'p90': round(float(p90), 4)}
                result[measure][str(step)] = {**entry, 'episodes': len(values)}
    fidelity, error = _table(found, 'fidelity').ravel(), _table(found, 't_px').ravel()
    known = np.isfinite(fidelity) & np.isfinite(error)
    result['fidelity_auroc'] = auroc(-fidelity[known], error[known] > wrong_px)
    return result


def _table(found: list[Curves], measure: str) -> NDArray[np.float64]:
    """A measure's curves below each other, padded with NaN."""
    longest = max(len(curves[measure]) for curves in found)
    table = np.full((len(found), longest), np.nan)
    for row, curves in enumerate(found):
        table[row, : len(curves[measure])] = curves[measure]
    return table


def _choose(task: Task, data: Path, seed: int, episodes: int) -> list[Episode]:
    """At most `episodes` of each kind, drawn with the seed."""
    generator = np.random.default_rng(seed)
    kept: dict[str, list[Episode]] = {}
    seen: dict[str, int] = {}
    for episode in read_episodes(data, task):
        if episode.scene.shape[1] != len(task.scene):
            continue
        kind = kept.setdefault(episode.kind, [])
        seen[episode.kind] = seen.get(episode.kind, 0) + 1
        if len(kind) < episodes:
            kind.append(episode)
        else:
            slot = int(generator.integers(seen[episode.kind]))
            if slot < episodes:
                kind[slot] = episode
    if not kept:
        raise ConfigurationError(f"no episode of task '{task.name}' below {data} has its scene")
    return [episode for kind in sorted(kept) for episode in kept[kind]]


def table(kinds: Mapping[str, Any]) -> str:
    """The medians after 20 and 100 steps as lines of text."""
    lines = []
    for kind, measures in kinds.items():
        parts = [f'{kind:8s}']
        for measure in (*UNITS, *BASELINES):
            values = [measures[measure].get(step, {}).get('p50') for step in ('20', '100')]
            parts.append(
                f'{measure} {" / ".join("-" if v is None else f"{v:.2f}" for v in values)}'
            )
        lines.append('  '.join(parts))
    return '\n'.join(lines)


def main() -> int:
    """The command. Returns 0, or 1 after a sentence on stderr."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--task', default='pusht', help='which task, by name')
    parser.add_argument('--data', type=Path, required=True, help='folder of held-out bags')
    parser.add_argument('--model', type=Path, required=True, help='folder of the world model')
    parser.add_argument('--seed', type=int, default=0, help='of the choice and of the keys')
    parser.add_argument('--episodes', type=int, default=40, help='of each kind, at most')
    parser.add_argument('--json', type=Path, help='write the figures here, pictures beside it')
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        task = load_task(arguments.task)
        model = load_model(arguments.model, task)
        pictures = arguments.json.parent if arguments.json else None
        result = evaluate(
            task,
            model,
            arguments.data,
            seed=arguments.seed,
            episodes=arguments.episodes,
            pictures=pictures,
        )
        if arguments.json:
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            write_whole(arguments.json, (json.dumps(result, indent=2) + '\n').encode())
    except HiwmError as error:
        print(f'evaluate: {error.message}', file=sys.stderr)
        return 1
    print(table(result['kinds']))
    return 0


def command() -> None:
    """The executable `evaluate`."""
    sys.exit(main())


if __name__ == '__main__':
    command()
