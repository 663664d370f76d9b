# SPDX-License-Identifier: Apache-2.0
"""Sources and locks: what their file may say, and how their words age."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from hiwm_core.action import Action, Source
from hiwm_core.error import ConfigurationError
from hiwm_intervention.sources import (
    Handover,
    Lock,
    MuxSettings,
    ProposalSource,
    SourceSettings,
    read_settings,
)
from hiwm_rig.emergency_stop import CONSOLE_TOPIC, STATE_TOPIC, TOPIC

SHIPPED = Path(__file__).parents[1] / 'config' / 'action_mux.yaml'
SETTINGS = SourceSettings('operator', '/operator/action', timeout=0.5, priority=100)


def test_the_shipped_file() -> None:
    settings = read_settings(SHIPPED)
    assert settings.sources['policy'].topic == '/policy/action'
    assert settings.sources['operator'].topic == '/operator/action'
    assert settings.sources['operator'].priority > settings.sources['policy'].priority
    locks = {name: lock.topic for name, lock in settings.locks.items()}
    assert locks == {
        'e_stop': TOPIC,
        'console_e_stop': CONSOLE_TOPIC,
        'arm_e_stop': STATE_TOPIC,
    }, 'all that may stop an arm, and what it has latched'
    operator = settings.sources['operator'].topic
    devices = ('browser', 'mouse', 'gamepad', 'terminal', 'script', '', 'policy')
    assert [settings.source_of(operator, device) for device in devices] == [
        'operator',
        'operator',
        'operator',
        'terminal',
        'script',
        'operator',
        'operator',
    ]
    assert settings.source_of('/policy/action', 'diffusion') == 'policy'


def test_a_topic_whose_sources_all_name_devices_has_none_for_others() -> None:
    one = SourceSettings('one', '/a', 0.5, 100, Handover.PASSIVE, ('left', 'right'))
    settings = MuxSettings({'one': one}, {})
    assert settings.source_of('/a', 'left') == 'one'
    assert settings.source_of('/a', 'middle') == ''


@pytest.mark.parametrize(
    ('place', 'value', 'sentence'),
    [
        ('sources.policy.timeout', 0.0, r'sources\.policy\.timeout is 0\.0; it must be larger'),
        ('sources.policy.timeout', -1, 'must be larger than 0 s'),
        ('sources.policy.timeout', math.nan, 'must be larger than 0 s'),
        ('sources.policy.timeout', math.inf, 'must be larger than 0 s'),
        ('sources.policy.timeout', 'soon', 'must be larger than 0 s'),
        ('locks.e_stop.timeout', 0, r'locks\.e_stop\.timeout is 0'),
        ('sources.operator.priority', 256, 'from 0 to 255'),
        ('sources.operator.priority', 1.5, 'from 0 to 255'),
        ('sources.operator.priority', 10, 'the same priority'),
        ('sources.operator.topic', '', 'must be the name of a topic'),
        ('sources.operator', {'topic': '/a'}, 'needs topic, timeout, priority'),
        ('sources.operator.handover', 'rough', 'handover is rough; it must be one of: relative'),
        ('sources.terminal.devices', 'terminal', 'devices must be a list of names'),
        ('sources.terminal.devices', [''], 'devices must be a list of names'),
        ('sources.terminal.devices', ['script'], "the device 'script' on /operator/action to both"),
        ('sources.terminal.devices', [], 'all devices that nobody names on /operator/action'),
        ('sources.policy.handover', 'passive', 'needs topic, timeout, priority and nothing else'),
        ('locks.e_stop.devices', ['button'], 'needs topic, timeout, priority and nothing else'),
        ('sources', {}, "needs a source named 'policy'"),
        ('sources', [1], 'must hold named entries'),
        ('sauces', {}, 'unknown entry: sauces'),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, place: str, value: object, sentence: str) -> None:
    data = yaml.safe_load(SHIPPED.read_text())
    *above, key = place.split('.')
    at = data
    for name in above:
        at = at[name]
    at[key] = value
    file = tmp_path / 'mux.yaml'
    file.write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigurationError, match=sentence) as refusal:
        read_settings(file)
    assert str(file) in refusal.value.message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match='cannot be read'):
        read_settings(tmp_path / 'none.yaml')
    (tmp_path / 'bad.yaml').write_text('sources: [')
    with pytest.raises(ConfigurationError, match='is not YAML'):
        read_settings(tmp_path / 'bad.yaml')
    (tmp_path / 'list.yaml').write_text('- 1')
    with pytest.raises(ConfigurationError, match='needs the entries'):
        read_settings(tmp_path / 'list.yaml')


def test_a_proposal_ages() -> None:
    source = ProposalSource(SETTINGS)
    assert math.isnan(source.age(5.0))
    assert not source.is_fresh(5.0)
    source.take(Action(np.zeros(2), Source.OPERATOR, epoch=1, step=0), now=5.0)
    assert source.age(5.25) == 0.25
    assert source.is_fresh(5.5)
    assert not source.is_fresh(5.51)
    source.clear()
    assert not source.is_fresh(5.0)
    assert source.age(5.25) == 0.25


def test_a_lock_is_set_by_its_level_and_by_silence_once_heard() -> None:
    lock = Lock(SourceSettings('e_stop', '/e_stop', timeout=0.5, priority=255))
    assert lock.reason(100.0) == ''
    lock.take(True, 100.0)
    assert 'is set' in lock.reason(100.1)
    lock.take(False, 100.2)
    assert lock.reason(100.7) == ''
    assert 'silent' in lock.reason(100.71)
