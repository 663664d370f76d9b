# SPDX-License-Identifier: Apache-2.0
"""The facts of a study: evaluations of many policies on two rigs, compared start by start.

`read_evaluations` reads what `evaluate --json` wrote; `facts_of` makes of it what the report says.
Names: a policy's variant is `base`, `wm_cl` (post-trained without a person), `hi_wm` (on
corrections, one of each failure), `hi_wm_branching` (the ablation: several of each, in equal
operator time); any other variant is a point of the correlation only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import ConfigurationError
from hiwm_core.interval import wilson
from hiwm_policy.statistics import (
    Estimate,
    mcnemar,
    mean_rank_violation,
    over_points,
    paired_gain,
    pearson,
    spearman,
)

REAL, MODEL = 'sim_arm', 'world_model'
BASE, CLOSED_LOOP, CORRECTED = 'base', 'wm_cl', 'hi_wm'
BRANCHED = 'hi_wm_branching'
COMPARED = (BASE, CLOSED_LOOP, CORRECTED)
LEAST_POINTS = 3
# Of a card's post-training: SHA-256 of the weights that it went on from.
BASE_WEIGHTS = 'base_weights_sha256'
STATISTICS = {'pearson': pearson, 'spearman': spearman, 'mmrv': mean_rank_violation}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One policy on one rig.

    Attributes:
        path: Of the JSON.
        policy: The policy's name.
        backbone: Its backbone.
        variant: Which of the study's variants it is.
        rig: Where it was evaluated.
        seeds: int64 (n,), of the starts.
        success: float64 (n,), 0 or 1.
        progress: float64 (n,), the best of each episode; NaN where unknown.
        post_training: What the policy's card says of it; None for a base.
        demo_seeds: Of the first and the last start that was demonstrated; None: not known.
        weights: SHA-256 of the weights; empty: not known.
    """

    path: Path
    policy: str
    backbone: str
    variant: str
    rig: str
    seeds: NDArray[np.int64]
    success: NDArray[np.float64]
    progress: NDArray[np.float64]
    post_training: dict[str, Any] | None
    demo_seeds: tuple[int, int] | None = None
    weights: str = ''


def read_evaluations(paths: Sequence[Path]) -> tuple[str, list[Evaluation]]:
    """The task's name, and every evaluation below or at the paths.

    Raises:
        ConfigurationError: A file cannot be read or used, or there is none; the sentence names it.
    """
    files = [
        file
        for path in paths
        for file in (sorted(path.rglob('*.json')) if path.is_dir() else [path])
    ]
    tasks, found = set(), []
    for file in files:
        try:
            data = json.loads(file.read_text(encoding='utf-8'))
            if 'table' not in data and len(files) > 1:
                continue
            tasks.add(str(data['task']))
            found.append(_evaluation(file, data))
        except OSError as error:
            raise ConfigurationError(f'{file} cannot be read: {error.strerror}') from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f'{file} is not an evaluation ({error!r}); give what `evaluate --json` wrote'
            ) from error
    if not found:
        raise ConfigurationError(
            f'{", ".join(map(str, paths))} holds no evaluation; run `evaluate --json` first'
        )
    if len(tasks) > 1:
        raise ConfigurationError(
            f'the evaluations are of several tasks ({", ".join(sorted(tasks))}); report one'
        )
    return tasks.pop(), found


def _evaluation(file: Path, data: dict[str, Any]) -> Evaluation:
    table = data['table']
    unknown = math.nan
    return Evaluation(
        path=file,
        policy=str(data['policy']),
        backbone=str(data['backbone']),
        variant=str(data['variant']),
        rig=str(data['rig']),
        seeds=np.array([row['seed'] for row in table], np.int64),
        success=np.array([row['success'] for row in table], np.float64),
        progress=np.array(
            [unknown if row['best_progress'] is None else row['best_progress'] for row in table]
        ),
        post_training=data.get('post_training'),
        demo_seeds=tuple(data['demo_seeds']) if data.get('demo_seeds') else None,
        weights=str(data.get('weights_sha256') or ''),
    )


def check_starts(evaluations: Sequence[Evaluation]) -> None:
    """Raises ConfigurationError if a policy was evaluated on a start that it has learned from."""
    for each in evaluations:
        seeds = set(each.seeds.tolist())
        first, last = each.demo_seeds or (0, -1)
        for learned, how in (
            (set((each.post_training or {}).get('start_seeds', ())), 'was post-trained from'),
            ({seed for seed in seeds if first <= seed <= last}, 'was shown'),
        ):
            if seen := seeds & learned:
                raise ConfigurationError(
                    f'{each.path} evaluates {each.policy} on {len(seen)} starts that it {how} '
                    f'(such as seed {min(seen)}); evaluate on others'
                )


def _compared(evaluations: Sequence[Evaluation]) -> dict[tuple[str, str], Evaluation]:
    """What the table says, by backbone and variant. Raises ConfigurationError: it is ambiguous."""
    on: dict[tuple[str, str], Evaluation] = {}
    for each in evaluations:
        if each.rig != REAL or each.variant not in (*COMPARED, BRANCHED):
            continue
        other = on.setdefault((each.backbone, each.variant), each)
        if other is not each:
            raise ConfigurationError(
                f'{other.path} and {each.path} are both of {each.backbone} {each.variant}; '
                'report one of them'
            )
    for (backbone, _), each in on.items():
        base, named = on.get((backbone, BASE)), (each.post_training or {}).get(BASE_WEIGHTS)
        if base is not None and base.weights and named and named != base.weights:
            raise ConfigurationError(
                f'{each.path} is of a policy that was post-trained from another base than that of '
                f'{base.path}; report each with its own'
            )
    return on


def facts_of(task: str, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """What the report says, ready for JSON.

    Raises:
        ConfigurationError: Policies to compare were evaluated on different starts, or on such as
            they have learned from; or it is not clear which are to be compared.
    """
    check_starts(evaluations)
    on = _compared(evaluations)
    backbones = sorted({backbone for backbone, _ in on})
    facts: dict[str, Any] = {'task': task, 'rig': REAL, 'backbones': {}}
    for backbone in backbones:
        variants = {variant: on[backbone, variant] for b, variant in on if b == backbone}
        each: dict[str, Any] = {name: _rate(evaluation) for name, evaluation in variants.items()}
        each['gain_over_base'] = _gain([variants], BASE, CORRECTED)
        each['gain_over_wm_cl'] = _gain([variants], CLOSED_LOOP, CORRECTED)
        each['wm_cl_gain_over_base'] = _gain([variants], BASE, CLOSED_LOOP)
        facts['backbones'][backbone] = each
    whole = [
        {variant: on[backbone, variant] for b, variant in on if b == backbone}
        for backbone in backbones
    ]
    facts['gain_over_base'] = _gain(whole, BASE, CORRECTED)
    facts['gain_over_wm_cl'] = _gain(whole, CLOSED_LOOP, CORRECTED)
    facts['ablation_of_branching'] = _ablation(whole)
    facts['operator'] = _operator(evaluations)
    facts['correlation'] = _correlation(evaluations)
    return facts


def _rate(evaluation: Evaluation) -> dict[str, Any]:
    won, count = int(evaluation.success.sum()), len(evaluation.success)
    known = evaluation.progress[np.isfinite(evaluation.progress)]
    training = evaluation.post_training or {}
    return {
        'policy': evaluation.policy,
        'success': won / count,
        'n': count,
        'interval_95': list(wilson(won, count)),
        'mean_best_progress': float(known.mean()) if known.size else None,
        **{
            name: training[name]
            for name in (
                'virtual_steps',
                'virtual_share',
                'corrections',
                'branches',
                'operator_seconds',
                'weighting',
            )
            if name in training
        },
    }


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    return {
        name: value if math.isfinite(value) else None for name, value in asdict(estimate).items()
    }


def _gain(sets: Sequence[dict[str, Evaluation]], before: str, after: str) -> dict[str, Any] | None:
    """The gain of a variant over another, on the average of the backbones that have both."""
    pairs = [(each[before], each[after]) for each in sets if before in each and after in each]
    if not pairs:
        return None
    seeds = pairs[0][0].seeds
    for pair in pairs:
        for each in pair:
            if not np.array_equal(each.seeds, seeds):
                raise ConfigurationError(
                    f'{each.path} and {pairs[0][0].path} have different starts; '
                    'evaluate both with the same --seed and --episodes'
                )
    result: dict[str, Any] = _estimate(
        paired_gain([(first.success, second.success) for first, second in pairs])
    )
    if len(pairs) == 1:
        result['p_mcnemar'] = mcnemar(pairs[0][0].success, pairs[0][1].success)
    result['n'] = len(seeds)
    result['backbones'] = len(pairs)
    return result


def _ablation(sets: Sequence[dict[str, Evaluation]]) -> dict[str, Any] | None:
    """With against without branching."""
    pairs = [each for each in sets if CORRECTED in each and BRANCHED in each]
    if not pairs:
        return None
    return {
        'gain_of_branching': _gain(pairs, CORRECTED, BRANCHED),
        'operator_seconds': {
            name: [(each[name].post_training or {}).get('operator_seconds') for each in pairs]
            for name in (CORRECTED, BRANCHED)
        },
        'failures_corrected': {
            name: [(each[name].post_training or {}).get('corrections') for each in pairs]
            for name in (CORRECTED, BRANCHED)
        },
    }


def _operator(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """What the policies of the study that learned from corrections took from a person, in all."""
    spent = {
        (each.backbone, each.variant): each.post_training
        for each in evaluations
        if each.post_training and each.post_training.get('operator_seconds')
    }
    return {
        f'{backbone} {variant}': {
            name: training.get(name) for name in ('operator_seconds', 'corrections', 'branches')
        }
        for (backbone, variant), training in sorted(spent.items())
    }


def _correlation(evaluations: Sequence[Evaluation]) -> dict[str, Any] | None:
    """The world model against the rig, over all policies that met both."""
    model = {_key(each): each for each in evaluations if each.rig == MODEL}
    real = {_key(each): each for each in evaluations if each.rig == REAL}
    names = sorted(set(model) & set(real))
    if len(names) < LEAST_POINTS:
        return None
    x, y = [model[name].success for name in names], [real[name].success for name in names]
    seeds = [each.seeds for name in names for each in (model[name], real[name])]
    shared = all(np.array_equal(each, seeds[0]) for each in seeds)
    return {
        'policies': len(names),
        'shared_starts': shared,
        **{
            name: _estimate(over_points(statistic, x, y, shared_starts=shared))
            for name, statistic in STATISTICS.items()
        },
        'points': [
            {
                'policy': real[name].policy,
                'backbone': real[name].backbone,
                'variant': real[name].variant,
                MODEL: _point(model[name]),
                REAL: _point(real[name]),
            }
            for name in names
        ],
    }


def _key(evaluation: Evaluation) -> tuple[str, str, str]:
    """What tells one policy from the others of a study."""
    return (evaluation.backbone, evaluation.variant, evaluation.policy)


def _point(evaluation: Evaluation) -> dict[str, Any]:
    won, count = int(evaluation.success.sum()), len(evaluation.success)
    return {'success': won / count, 'n': count, 'interval_95': list(wilson(won, count))}
