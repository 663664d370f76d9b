# SPDX-License-Identifier: Apache-2.0
"""Asks of a page as requests to the rig and the multiplexer, and their answers in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hiwm_core import contract
from hiwm_core.contract import Service
from hiwm_core.rollout_tree import Label
from hiwm_intervention.console_protocol import Ask
from hiwm_intervention.console_tree import TreeView
from hiwm_intervention.takeover import Event

# Asks that are an event of the takeover table.
EVENTS: Mapping[str, Event] = {
    'take_over': Event.TAKE_OVER,
    'release': Event.RELEASE,
    'ask_wheel': Event.ASK,
    'pause': Event.PAUSE,
    'resume': Event.RESUME,
    'stop': Event.LOCK,
    'unlock': Event.RESET,
}
# The service of each ask; those without one are the console's own business.
SERVICES: Mapping[str, Service] = {
    **dict.fromkeys(EVENTS, contract.TAKEOVER),
    'step': contract.STEP,
    'speed': contract.SET_PACE,
    'rollback': contract.ROLLBACK,
    'go_to': contract.ROLLBACK,
    'branch': contract.BRANCH,
    'resample': contract.BRANCH,
    'checkpoint': contract.SAVE_CHECKPOINT,
    'reset': contract.RESET,
    'ready': contract.RESET,
    'label': contract.LABEL,
}
OWN = frozenset({'remember_start', 'forget_start', 'cancel_start'})
# On a rig where a person sets up the starts, these are the guide's; see `reset_guide`.
GUIDED = frozenset({'reset', 'ready', 'cancel_start'})
# Every page may ask these, whoever drives.
FREE = frozenset({'stop', 'ask_wheel', 'checkpoint', 'remember_start', 'forget_start'})
# What would take the scene from under the hands of the page that drives.
NOT_WHILE_DRIVING = frozenset({'resample'})


@dataclass(frozen=True)
class Call:
    """A service request: the service and the fields to fill in."""

    service: Service
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """A service's answer; `fields` holds what it says beside the three last fields."""

    success: bool
    message: str
    fields: Mapping[str, Any]


def call_of(page: str, ask: Ask, tree: TreeView) -> Call:
    """The service request that does what a page asks."""
    service = SERVICES[ask.name]
    if ask.name in EVENTS:
        return Call(service, {'event': int(EVENTS[ask.name]), 'operator_id': page})
    fields = dict(ask.fields)
    if ask.name == 'label':
        fields['label'] = int(Label[fields['label'].upper()])
    if 'called' in fields:
        fields['name'] = fields.pop('called')
    if ask.name == 'checkpoint' and not fields['name']:
        fields['name'] = tree.free_checkpoint_name()
    if ask.name == 'resample':
        fields = {'node': 0, 'name': '', 'resample': True}
    return Call(service, fields)


def sentence_of(ask: Ask, fields: Mapping[str, Any], set_up: float | None = None) -> str:
    """What was done, where the page does not show it anyway.

    Args:
        set_up: s that a person took to set up a start.
    """
    if ask.name in {'rollback', 'go_to'}:
        return f'Back at step {fields["step"]}. The old future is kept as its own branch.'
    if ask.name == 'branch':
        return f"'{fields['branch']}' begins here."
    if ask.name == 'resample':
        return f"'{fields['branch']}' begins here and draws its own randomness."
    if ask.name == 'checkpoint':
        return 'The bookmark is set.'
    if ask.name == 'reset':
        return f'A new run from start {fields["seed"]}.'
    if ask.name == 'ready':
        return f'A new run from start {fields["seed"]}, set up in {set_up:.0f} s.'
    if ask.name == 'label':
        if ask.fields['label'] == 'none':
            return f"The label of '{fields['branch']}' is taken back."
        return f"'{fields['branch']}' is labelled {WORDS[ask.fields['label']]}."
    if ask.name == 'speed':
        return f'Time runs at {fields["speed"]:g} times its rate.'
    if ask.name == 'ask_wheel':
        return 'Whoever drives is told that you ask for the wheel.'
    return ''


WORDS = {'success': 'good', 'failure': 'bad', 'discard': 'to be discarded'}
