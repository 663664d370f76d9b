# SPDX-License-Identifier: Apache-2.0
"""Servos are found, and set up one at a time, on a wire on which ids may collide."""

from __future__ import annotations

import json
from pathlib import Path
import sys

import cv2
import pytest
from shared_wire import SharedWire, WirePort, servo

from hiwm_core.error import HiwmError
from hiwm_robot.calibration import set_up_servo
from hiwm_robot.calibration.servo_scan import BAUD_RATES, FoundServo, ServoScan
from hiwm_robot.calibration.servo_setup import check, choose, set_up
from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.emulator.servo import EmulatedServo


def scan(*servos: EmulatedServo) -> tuple[WirePort, list[FoundServo]]:
    port = WirePort(SharedWire(*servos))  # type: ignore[arg-type]
    port.openPort()
    return port, ServoScan(port).scan()


def test_every_servo_is_found_at_its_baud_rate() -> None:
    _, found = scan(
        servo(1),
        servo(7, 'XM430-W350', rate=1_000_000),
        servo(252, 'XM540-W270', rate=1_000_000),
        servo(3, rate=4_000_000),
        servo(0, rate=9600),
    )
    assert {(one.number, one.baud_rate): table.model_name(one.model) for one in found} == {
        (1, 57600): 'XL330-M288',
        (7, 1_000_000): 'XM430-W350',
        (252, 1_000_000): 'XM540-W270',
        (3, 4_000_000): 'XL330-M288',
        (0, 9600): 'XL330-M288',
    }
    assert all(one.answered == 1.0 and not one.shared for one in found)
    assert all(one.voltage == pytest.approx(12.0) for one in found)


def test_two_servos_with_one_id_are_told_from_one() -> None:
    _, found = scan(servo(1, at=0.5), servo(1, at=4.0), servo(2))
    assert [(one.number, one.shared) for one in found] == [(1, True), (2, False)]
    with pytest.raises(HiwmError, match='two or more servos share the id 1 at 57600 baud; leave'):
        choose(found)
    with pytest.raises(HiwmError, match='share the id 1'):
        choose(found, number=2)


def test_two_of_different_models_are_told_from_one_as_well() -> None:
    _, found = scan(servo(1, at=3.0), servo(1, 'XM430-W350', at=3.0))
    assert [one.number for one in found] == [1]
    # Here the positions agree, and so do the answers; what they are does not.
    assert found[0].shared or found[0].model not in table.MODEL_NAMES


def test_two_that_answer_one_after_the_other_are_told_from_one() -> None:
    slow = servo(5, at=3.0)
    slow.write(table.RETURN_DELAY.address, bytes([50]))
    _, found = scan(servo(5, at=3.0), slow)
    assert [(one.number, one.shared) for one in found] == [(5, True)]


def test_a_servo_gets_its_id_and_baud_rate_and_answers_there() -> None:
    new, other = servo(1), servo(2, 'XM430-W350', rate=1_000_000)
    port, found = scan(new, other)
    chosen = choose(found, number=1)
    check(found, chosen, 6, 1_000_000)
    set_up(port, chosen, 6, 1_000_000)
    again = ServoScan(port).scan()
    assert {(one.number, one.baud_rate) for one in again} == {(6, 1_000_000), (2, 1_000_000)}
    assert not new.torque


def test_a_servo_with_torque_is_let_go_first_since_it_would_refuse() -> None:
    stiff = servo(1)
    stiff.write(table.TORQUE_ENABLE.address, b'\x01')
    port, found = scan(stiff)
    set_up(port, found[0], 9, 57600)
    assert stiff.value(table.ID) == 9


def test_what_would_make_a_second_of_an_id_is_refused() -> None:
    _, found = scan(servo(1), servo(4, rate=1_000_000))
    with pytest.raises(HiwmError, match=r'there are 2 servos \(id 1.*; leave one on the bus'):
        choose(found)
    with pytest.raises(HiwmError, match='no such servo; there is id 1: XL330-M288 at 57600'):
        choose(found, number=8)
    assert choose(found, baud_rate=1_000_000).number == 4
    with pytest.raises(HiwmError, match='the id 4 belongs to another servo at 1000000 baud'):
        check(found, found[0], 4, 1_000_000)
    check(found, found[0], 4, 57600)
    check(found, found[0], 1, 57600)


def test_a_servo_that_keeps_nothing_is_reported() -> None:
    deaf = servo(1)
    port, found = scan(deaf)
    deaf.write = lambda address, data: 0  # type: ignore[method-assign, assignment]
    with pytest.raises(HiwmError, match=r'does not answer as id 3 at 57600 baud .*; look for it'):
        set_up(port, found[0], 3, 57600)


# -- the command ---------------------------------------------------------------------------------


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> list[EmulatedServo]:
    """Servos on the port of any name."""
    servos: list[EmulatedServo] = []
    monkeypatch.setattr(set_up_servo, 'ServoPort', lambda name, rate: WirePort(SharedWire(*servos)))
    return servos


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    words = ['set_up_servo', '--port', 'bus', *map(str, arguments)]
    monkeypatch.setattr(sys, 'argv', words)
    return set_up_servo.main()


def test_the_command_looks_and_sets_up(
    wire: list[EmulatedServo],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wire[:] = [servo(1)]
    picture, figures = tmp_path / 'servos.png', tmp_path / 'servos.json'
    assert command(monkeypatch, '--picture', picture, '--json', figures) == 0
    assert 'id 1: XL330-M288 at 57600 baud' in capsys.readouterr().out
    assert cv2.imread(str(picture)) is not None
    (told,) = json.loads(figures.read_text())['servos']
    assert (told['id'], told['baud_rate'], told['answered']) == (1, 57600, 1.0)
    assert command(monkeypatch, '--id', 5, '--baud-rate', 1_000_000) == 0
    assert 'XL330-M288 is now id 5 at 1000000 baud' in capsys.readouterr().out
    assert wire[0].value(table.ID) == 5
    wire.append(servo(5, rate=1_000_000, at=1.0))
    assert command(monkeypatch, '--id', 6) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith('set_up_servo: two or more servos share the id 5 at 1000000 baud')
    assert [one.value(table.ID) for one in wire] == [5, 5], 'nothing was changed'


def test_an_id_that_would_be_there_twice_on_the_way_is_refused(
    wire: list[EmulatedServo], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The baud rate follows the id: both would hear it, and both would change theirs."""
    wire[:] = [servo(1), servo(4, 'XM430-W350')]
    assert command(monkeypatch, '--servo', 1, '--id', 4, '--baud-rate', 1_000_000) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert 'the id 4 belongs to another servo at 57600 baud (XM430-W350); choose another' in said
    assert [one.value(table.ID) for one in wire] == [1, 4], 'nothing was changed'


def test_a_bus_without_servos_and_a_port_that_is_not_there(
    wire: list[EmulatedServo], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = servo(1)
    silent.answers = lambda now: False  # type: ignore[method-assign, assignment]
    wire[:] = [silent]
    assert command(monkeypatch) == 1
    assert 'no servo answers at any baud rate; check its power' in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr(sys, 'argv', ['set_up_servo', '--port', '/dev/none', '--id', '3'])
    assert set_up_servo.main() == 1
    assert 'there is no port /dev/none' in capsys.readouterr().err


def test_all_baud_rates_of_the_servos_are_looked_at() -> None:
    assert sorted(BAUD_RATES) == sorted(table.BAUD_CODES)
    assert BAUD_RATES[:2] == (57600, 1_000_000), 'the factory rate and the usual one come first'
