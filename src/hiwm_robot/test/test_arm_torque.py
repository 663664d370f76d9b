# SPDX-License-Identifier: Apache-2.0
"""Torque off: who takes it, who may give it back, and what is said of a servo that was not told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from emulated_arm import EmulatedArm, joint_task, planar_arm, small_arm
import numpy as np
import pytest

from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.arm import LAST_TRIES
from hiwm_robot.dynamixel.arm_phase import DRIVEN, ArmPhase
from hiwm_robot.dynamixel.control_table import HardwareError
from hiwm_robot.dynamixel.emulator import servo as emulated_servo
from hiwm_robot.dynamixel.port import REOPEN_PERIOD

JOINTS = ('waist', 'shoulder', 'elbow')
START = [0.0, -1.0, 1.9]
ELBOW_IS_LEFT = 'servo 3 (elbow) could not be told and may still have torque; switch its supply off'
ALL_ARE_LEFT = (
    'servos 1 (waist), 2 (shoulder), 3 (elbow) could not be told and may still have torque; switch '
    'their supply off'
)


@pytest.fixture
def small(tmp_path: Path) -> EmulatedArm:
    """Three joints, driven by name, with torque and past the slow start."""
    return driven(EmulatedArm(small_arm(tmp_path), joint_task(JOINTS), START))


@pytest.fixture
def releasing(tmp_path: Path) -> EmulatedArm:
    """The same, whose emergency stop takes the torque."""
    config = small_arm(tmp_path)
    config = replace(config, limits=replace(config.limits, stop_torque='release'))
    return driven(EmulatedArm(config, joint_task(JOINTS), START))


def driven(arm: EmulatedArm) -> EmulatedArm:
    arm.start().drive(START, 0.3)
    assert arm.arm.phase is ArmPhase.FOLLOWING
    return arm


def turns_of(arm: EmulatedArm, seconds: float) -> int:
    return round(seconds * arm.config.rate)


# -- a fault and an emergency stop ---------------------------------------------------------------


@pytest.mark.parametrize('stopped', ['never', 'before', 'since'])
def test_the_reset_of_an_emergency_stop_gives_a_fault_no_torque(
    small: EmulatedArm, stopped: str
) -> None:
    if stopped == 'before':
        small.arm.stop('somebody pressed the button')
        small.turns(2)
    small.bus.servos[3].heat = 41.0
    small.turns(2)
    assert small.arm.phase is ArmPhase.FAULT and small.torque == [False] * 3
    small.bus.servos[3].heat = 0.0
    if stopped == 'since':
        small.arm.stop('somebody pressed the button')
        small.turns(2)
    small.arm.reset_stop()
    for _ in range(50):
        small.turn()
        assert small.torque == [False] * 3
    assert small.arm.phase is ArmPhase.FAULT
    assert 'servo 3 (elbow) is at 66 degC' in small.arm.message
    small.arm.recover()
    small.turns(2)
    assert small.arm.phase is ArmPhase.STARTING and small.torque == [True] * 3


def test_a_fault_is_neither_enabled_nor_disabled_away(small: EmulatedArm) -> None:
    small.bus.servos[3].heat = 41.0
    small.turns(2)
    small.bus.servos[3].heat = 0.0
    small.arm.disable()
    small.turns(2)
    with pytest.raises(ConfigurationError, match=r'servo 3 \(elbow\) is at 66 degC.*anew for that'):
        small.arm.enable()
    assert small.arm.phase is ArmPhase.FAULT and small.torque == [False] * 3


def test_a_joint_that_was_moved_beyond_its_limits_meanwhile_is_a_sentence(
    releasing: EmulatedArm,
) -> None:
    releasing.arm.stop('somebody pressed the button')
    releasing.turns(2)
    waist = releasing.bus.servos[1]
    waist.put(waist.position + 2.5)
    releasing.arm.reset_stop()
    releasing.turns(2)
    assert releasing.arm.phase is ArmPhase.FAULT and releasing.torque == [False] * 3
    assert releasing.arm.message == (
        "joint 'waist' stands at 2.50 rad, outside of its limits -2.2 to 2.2; move it by hand, or "
        'correct its offset'
    )


# -- a port that is gone -------------------------------------------------------------------------


def test_a_cable_that_is_plugged_in_again_takes_the_torque_off_by_itself(
    small: EmulatedArm,
) -> None:
    small.port.unplugged = True
    small.turns(turns_of(small, 2.5))
    assert small.arm.phase is ArmPhase.FAULT
    assert all(small.torque), 'the bus watchdog stops a servo and leaves it its torque'
    small.port.unplugged = False
    small.turns(turns_of(small, REOPEN_PERIOD) + 1)
    assert small.torque == [False] * 3
    assert small.arm.phase is ArmPhase.FAULT and 'has vanished' in small.arm.message
    small.arm.recover()
    small.turns(2)
    assert small.arm.phase in DRIVEN and small.torque == [True] * 3


def test_plugged_in_again_and_ended_at_once_it_has_no_torque(small: EmulatedArm) -> None:
    small.port.unplugged = True
    small.turns(30)
    small.port.unplugged = False
    small.arm.close()
    assert small.torque == [False] * 3
    assert small.arm.phase is ArmPhase.OFF and small.arm.message == ''
    assert not small.port.is_open


def test_ended_without_its_cable_it_says_that_every_servo_may_have_torque(
    small: EmulatedArm,
) -> None:
    small.port.unplugged = True
    small.turns(30)
    small.arm.close()
    assert small.arm.message == ALL_ARE_LEFT


def test_a_cable_that_is_pulled_while_the_torque_is_off_is_no_alarm(small: EmulatedArm) -> None:
    small.arm.disable()
    assert small.torque == [False] * 3
    small.port.unplugged = True
    small.arm.close()
    assert small.arm.message == ''


def test_a_servo_that_is_deaf_when_the_arm_is_to_recover_is_limp_once_it_hears(
    small: EmulatedArm,
) -> None:
    small.bus.faults.missing = frozenset({3})
    small.turns(40)
    assert small.arm.phase is ArmPhase.FAULT and small.torque == [False, False, True]
    small.arm.recover()
    small.turn()
    assert small.arm.phase is ArmPhase.FAULT and small.port.is_open
    assert 'servo 3 (elbow) on virtual does not answer' in small.arm.message
    small.bus.faults.missing = frozenset()
    small.turns(2)
    assert small.torque == [False] * 3 and small.arm.phase is ArmPhase.FAULT


def test_one_servo_that_does_not_answer_keeps_no_other_stiff(small: EmulatedArm) -> None:
    small.port.unplugged = True
    small.turns(30)
    small.port.unplugged = False
    small.bus.faults.missing = frozenset({1})
    small.turns(turns_of(small, REOPEN_PERIOD) + 1)
    assert small.torque == [True, False, False]
    small.bus.faults.missing = frozenset()
    small.turns(2)
    assert small.torque == [False] * 3


def test_whoever_opens_a_stiff_arm_lets_go_of_it_before_asking_anybody(tmp_path: Path) -> None:
    """As after a control loop that was killed: its servos stand by themselves."""
    arm = EmulatedArm(small_arm(tmp_path), joint_task(JOINTS), START)
    for servo in arm.bus.servos.values():
        servo.write(table.TORQUE_ENABLE.address, b'\x01')
    arm.bus.faults.missing = frozenset({1})
    with pytest.raises(ConfigurationError, match=r'servo 1 \(waist\)'):
        arm.arm.connect()
    assert arm.torque == [True, False, False]


def test_a_servo_that_was_asked_as_the_port_vanished_has_not_answered(
    small: EmulatedArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, words = small.port.writePort, []

    def vanish_at_the_first_question(packet: list[int]) -> int:
        words.append(packet)
        small.port.unplugged = len(words) > 3
        return write(packet)

    monkeypatch.setattr(small.port, 'writePort', vanish_at_the_first_question)
    small.arm.disable()
    assert small.arm._servos.torque_off.unsure == (1, 2, 3)


# -- while nobody drives -------------------------------------------------------------------------


def registers(arm: EmulatedArm) -> list[list[int]]:
    """What a servo forgets without power, of each."""
    forgotten = (table.PROFILE_VELOCITY, table.POSITION_P_GAIN, table.POSITION_D_GAIN)
    return [[servo.value(each) for each in forgotten] for servo in arm.bus.servos.values()]


def test_servos_that_were_without_power_meanwhile_are_set_up_again(small: EmulatedArm) -> None:
    before = registers(small)
    small.arm.disable()
    small.turns(2)
    for servo in small.bus.servos.values():
        servo.reboot(small.port.now)
    small.turns(turns_of(small, 2.0))
    assert registers(small) != before
    small.arm.enable()
    small.turns(2)
    assert small.arm.phase is ArmPhase.STARTING and small.torque == [True] * 3
    assert registers(small) == before


def test_a_cable_that_was_out_meanwhile_is_no_hindrance(small: EmulatedArm) -> None:
    small.arm.disable()
    small.port.unplugged = True
    small.turns(5)
    with pytest.raises(ConfigurationError, match='port'):
        small.arm.enable()
    small.port.unplugged = False
    small.turns(5)
    assert small.torque == [False] * 3
    small.arm.enable()
    small.turns(2)
    assert small.arm.phase is ArmPhase.STARTING and small.torque == [True] * 3


def test_whose_torque_could_not_be_taken_is_said_at_once_and_until_it_is(
    small: EmulatedArm,
) -> None:
    small.bus.faults.missing = frozenset({3})
    small.arm.disable()
    small.turns(5)
    assert small.arm.phase is ArmPhase.OFF and small.torque == [False, False, True]
    assert small.arm.told == ELBOW_IS_LEFT
    small.bus.faults.missing = frozenset()
    small.turns(5)
    assert small.torque == [False] * 3 and small.arm.told == ''


def test_a_fault_says_who_is_stiff_beside_its_cause(small: EmulatedArm) -> None:
    small.bus.faults.missing = frozenset({3})
    small.turns(turns_of(small, 0.5))
    assert small.arm.phase is ArmPhase.FAULT and small.torque == [False, False, True]
    assert 'servo 3 (elbow)' in small.arm.message
    assert small.arm.told == f'{small.arm.message}; {ELBOW_IS_LEFT}'
    small.bus.faults.missing = frozenset()
    small.turns(5)
    assert small.torque == [False] * 3 and small.arm.told == small.arm.message


# -- the end -------------------------------------------------------------------------------------


def test_a_servo_that_could_not_be_told_is_named_at_the_end(small: EmulatedArm) -> None:
    small.bus.faults.missing = frozenset({3})
    began = small.port.now
    small.arm.close()
    assert small.torque == [False, False, True]
    assert small.arm.message == ELBOW_IS_LEFT
    assert LAST_TRIES <= small.port.now - began < LAST_TRIES + 0.5
    assert not small.port.is_open


def test_the_end_outlasts_a_bus_that_is_disturbed_for_a_while(
    small: EmulatedArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.bus.faults.drop = 1.0
    receive, sound_at = small.bus.receive, small.port.now + 0.9 * LAST_TRIES

    def mended_later(data: bytes, now: float, *more: Any) -> Any:
        if now > sound_at:
            small.bus.faults.drop = 0.0
        return receive(data, now, *more)

    monkeypatch.setattr(small.bus, 'receive', mended_later)
    small.arm.close()
    assert small.torque == [False] * 3 and small.arm.message == ''


def test_a_dry_run_has_nothing_to_be_alarmed_of() -> None:
    arm = planar_arm(dry_run=True).start()
    arm.drive([0.3, 0.3], 0.3)
    arm.bus.faults.missing = frozenset({3})
    arm.arm.close()
    assert arm.arm.message == ''


# -- a servo that starts anew by itself ----------------------------------------------------------


def has_started_anew(arm: EmulatedArm) -> bool:
    return arm.arm.phase is ArmPhase.FAULT and arm.arm.message == (
        'servo 2 (shoulder) has started anew; look to its power, then reset the arm'
    )


def test_a_servo_whose_power_dips_is_noticed_however_soon_it_is_back(
    small: EmulatedArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulated_servo, 'REBOOT_TIME', 0.0)
    shoulder = small.bus.servos[2]
    profile = shoulder.value(table.PROFILE_VELOCITY)
    shoulder.reboot(small.port.now)
    assert small.torque == [True, False, True]
    small.turns(4)
    assert has_started_anew(small) and small.torque == [False] * 3
    small.arm.recover()
    small.turns(2)
    assert small.arm.phase is ArmPhase.STARTING and small.torque == [True] * 3
    assert shoulder.value(table.PROFILE_VELOCITY) == profile, 'what it had forgotten is set again'


def test_a_silence_in_which_a_servo_starts_anew_is_no_silence_of_the_bus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its bus watchdog is off, which is not the same as not tripped; in a dry run too."""
    monkeypatch.setattr(emulated_servo, 'REBOOT_TIME', 0.12)
    arm = planar_arm(dry_run=True).start()
    arm.drive([0.3, 0.3], 0.3)
    arm.bus.servos[2].reboot(arm.port.now)
    arm.turns(20)
    assert has_started_anew(arm)
    with pytest.raises(HiwmError, match='has started anew'):
        arm.arm._servos.rearm_watchdogs()


@pytest.mark.parametrize('turn', range(3))
def test_what_a_hardware_error_switches_off_is_told_as_that(
    small: EmulatedArm, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    """It comes between the reading of all servos and the look at one."""
    small.turns(turn)
    send = small.arm._servos.send

    def fail_then(goal: np.ndarray) -> np.ndarray:
        small.bus.servos[3].fail(HardwareError.OVERLOAD)
        return send(goal)

    monkeypatch.setattr(small.arm._servos, 'send', fail_then)
    small.turns(2)
    assert 'servo 3 (elbow) reports a hardware error: overload' in small.arm.message


@pytest.mark.parametrize('harm', [lambda arm: None, lambda arm: arm.port.sleep(0.3)])
def test_torque_that_an_emergency_stop_has_taken_is_not_missed(
    releasing: EmulatedArm, harm: Callable[[EmulatedArm], None]
) -> None:
    releasing.arm.stop('somebody pressed the button')
    releasing.turns(5)
    harm(releasing)
    releasing.turns(20)
    assert releasing.arm.phase is ArmPhase.STOPPED and releasing.torque == [False] * 3
