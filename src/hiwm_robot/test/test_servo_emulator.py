# SPDX-License-Identifier: Apache-2.0
"""The emulated servos, spoken to by the vendor's own SDK."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import json
import os
from pathlib import Path
import random
import signal
import subprocess
import sys
import threading
from typing import Any

from dynamixel_sdk import (
    COMM_RX_CORRUPT,
    COMM_RX_TIMEOUT,
    COMM_SUCCESS,
    GroupSyncRead,
    GroupSyncWrite,
    PacketHandler,
    PortHandler,
    port_handler,
)
from emulated_arm import CONFIG, reference, write_arm
import pytest

from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.arm_config import read_arm
from hiwm_robot.dynamixel.control_table import MODELS, HardwareError, OperatingMode
from hiwm_robot.dynamixel.emulator.bus import EmulatedBus
from hiwm_robot.dynamixel.emulator.commands import COMMANDS, perform
from hiwm_robot.dynamixel.emulator.packet import Decoder, crc16, encode, stuff, unstuff
from hiwm_robot.dynamixel.emulator.program import emulated_bus
from hiwm_robot.dynamixel.emulator.serial_device import SerialDevice
from hiwm_robot.dynamixel.emulator.servo import EmulatedServo
from hiwm_robot.dynamixel.emulator.virtual_port import VirtualPort

SDK = PacketHandler(2.0)
# ms, of the SDK's own patience, for a machine on which the servos' thread seldom has its turn.
LONG_LATENCY = 1000


# -- the codec -----------------------------------------------------------------------------------


def test_the_checksum_is_the_protocols() -> None:
    # The e-manual's example: ping of servo 1.
    assert encode(1, 0x01, b'') == bytes.fromhex('ff ff fd 00 01 03 00 01 19 4e')


def test_the_sdk_and_the_codec_agree_on_any_packet() -> None:
    generator = random.Random(0)
    for _ in range(500):
        size = generator.randrange(1, 60)
        # Rich in what has to be stuffed.
        body = bytes(generator.choice(b'\xff\xff\xfd\x00\x01') for _ in range(size))
        length = len(body) + 3
        packet = [0xFF, 0xFF, 0xFD, 0, 7, length & 0xFF, length >> 8, 0x03, *body, 0, 0]
        packet = SDK.addStuffing(packet)
        ours = encode(7, 0x03, body)
        assert bytes(packet[: len(ours) - 2]) == ours[:-2]
        assert SDK.updateCRC(0, packet, len(ours) - 2) == crc16(ours[:-2])
        assert unstuff(stuff(body)) == body
        (found,) = Decoder().feed(b'\xff\xff' + ours)
        assert (found.servo, found.instruction, found.parameters) == (7, 0x03, body)


def test_a_stream_in_pieces_with_noise_and_damage_gives_every_sound_packet() -> None:
    generator = random.Random(1)
    for _ in range(200):
        sound = [encode(number, 0x02, bytes([number] * 4)) for number in range(1, 6)]
        broken = bytearray(sound[2])
        broken[9] ^= 0x10
        stream = b'\x00\xff' + sound[0] + sound[1] + bytes(broken) + sound[3] + sound[4]
        decoder, found = Decoder(), []
        while stream:
            cut = generator.randrange(1, 9)
            found += decoder.feed(stream[:cut])
            stream = stream[cut:]
        assert [packet.servo for packet in found] == [1, 2, 4, 5]
        assert decoder.damaged == 1


# -- one servo, in made-up time -------------------------------------------------------------------


@pytest.fixture
def servo() -> EmulatedServo:
    return EmulatedServo(1, MODELS['XM430-W350'])


def put(servo: EmulatedServo, register: table.Register, count: int) -> int:
    return servo.write(register.address, register.pack(count))


def test_it_moves_to_its_goal_only_with_torque(servo: EmulatedServo) -> None:
    put(servo, table.GOAL_POSITION, 2500)
    servo.advance(2.0)
    assert servo.value(table.PRESENT_POSITION) in {0, 2048}, 'no torque, no motion'
    put(servo, table.TORQUE_ENABLE, 1)
    assert servo.value(table.GOAL_POSITION) == 2048, 'the torque comes where it stands'
    put(servo, table.GOAL_POSITION, 2500)
    servo.advance(0.05)
    assert 2048 < servo.position / table.RADIANS_PER_TICK < 2500
    servo.advance(3.0)
    assert servo.position / table.RADIANS_PER_TICK == pytest.approx(2500, abs=0.1)


def test_its_speed_is_that_of_its_profile(servo: EmulatedServo) -> None:
    put(servo, table.TORQUE_ENABLE, 1)
    put(servo, table.PROFILE_VELOCITY, 20)
    put(servo, table.GOAL_POSITION, 4000)
    before = servo.position
    servo.advance(1.0)
    assert servo.position - before == pytest.approx(20 * table.RADIANS_PER_SECOND, rel=1e-3)


def test_motion_does_not_depend_on_how_time_is_cut() -> None:
    ends = []
    for pieces in (1, 7, 100):
        servo = EmulatedServo(1, MODELS['XM430-W350'])
        put(servo, table.TORQUE_ENABLE, 1)
        put(servo, table.GOAL_POSITION, 3000)
        for _ in range(pieces):
            servo.advance(0.7 / pieces)
        ends.append(servo.position)
    assert max(ends) - min(ends) < 2e-3


def test_eeprom_is_not_written_under_torque(servo: EmulatedServo) -> None:
    assert put(servo, table.OPERATING_MODE, 3) == 0
    put(servo, table.TORQUE_ENABLE, 1)
    assert put(servo, table.OPERATING_MODE, 3) == 7
    assert put(servo, table.PRESENT_POSITION, 3) == 7, 'and what it measures never'


def test_a_goal_beyond_its_limits_is_refused(servo: EmulatedServo) -> None:
    put(servo, table.MAX_POSITION_LIMIT, 3000)
    put(servo, table.TORQUE_ENABLE, 1)
    assert put(servo, table.GOAL_POSITION, 3001) == 6
    assert servo.value(table.GOAL_POSITION) == 2048


def test_a_change_of_mode_resets_the_gains(servo: EmulatedServo) -> None:
    put(servo, table.POSITION_P_GAIN, 100)
    put(servo, table.OPERATING_MODE, 3)
    assert servo.value(table.POSITION_P_GAIN) == 800


def test_the_bus_watchdog_stops_it_until_it_is_cleared(servo: EmulatedServo) -> None:
    put(servo, table.BUS_WATCHDOG, 10)
    put(servo, table.TORQUE_ENABLE, 1)
    put(servo, table.PROFILE_VELOCITY, 20)
    put(servo, table.GOAL_POSITION, 4000)
    for _ in range(30):
        servo.hear()
        servo.advance(0.01)
    moving = servo.position
    for _ in range(40):
        servo.advance(0.01)
    assert servo.value(table.BUS_WATCHDOG) == table.WATCHDOG_TRIPPED
    assert servo.position - moving < 0.21 * 20 * table.RADIANS_PER_SECOND
    assert put(servo, table.GOAL_POSITION, 3000) == 4, 'no goal is taken'
    put(servo, table.BUS_WATCHDOG, 0)
    assert put(servo, table.GOAL_POSITION, 3000) == 0


def test_a_change_to_current_control_sets_all_the_current_it_may_have(
    servo: EmulatedServo,
) -> None:
    put(servo, table.CURRENT_LIMIT, 100)
    put(servo, table.PROFILE_VELOCITY, 20)
    put(servo, table.OPERATING_MODE, OperatingMode.CURRENT)
    assert servo.value(table.GOAL_CURRENT) == 100 and servo.value(table.PROFILE_VELOCITY) == 0
    assert servo.current == 0.0, 'no torque, no current'
    put(servo, table.TORQUE_ENABLE, 1)
    assert servo.current == pytest.approx(0.269)
    assert put(servo, table.GOAL_CURRENT, -40) == 0
    assert servo.current == pytest.approx(-0.1076)
    assert put(servo, table.GOAL_CURRENT, 101) == put(servo, table.GOAL_CURRENT, -101) == 6
    assert servo.read(table.PRESENT_CURRENT.address, 2) == (0, table.PRESENT_CURRENT.pack(-40))
    # A position is no business of it.
    before = servo.position
    put(servo, table.GOAL_POSITION, 3000)
    servo.advance(0.5)
    assert servo.position == before


def test_in_current_control_the_bus_watchdog_sets_it_free(servo: EmulatedServo) -> None:
    put(servo, table.OPERATING_MODE, OperatingMode.CURRENT)
    put(servo, table.GOAL_CURRENT, 50)
    put(servo, table.BUS_WATCHDOG, 10)
    servo.advance(1.0)
    assert servo.value(table.BUS_WATCHDOG) == 10, 'without torque it is not looked at'
    put(servo, table.TORQUE_ENABLE, 1)
    servo.hear()
    servo.advance(0.15)
    assert servo.current > 0.0
    servo.advance(0.1)
    assert servo.current == 0.0
    assert put(servo, table.GOAL_CURRENT, 50) == 4
    put(servo, table.BUS_WATCHDOG, 0)
    assert put(servo, table.GOAL_CURRENT, 50) == 0 and servo.current > 0.0


def test_a_model_without_current_control_refuses_it() -> None:
    servo = EmulatedServo(1, MODELS['XL430-W250'])
    assert put(servo, table.OPERATING_MODE, OperatingMode.CURRENT) == 4
    assert servo.value(table.OPERATING_MODE) == OperatingMode.POSITION


def test_a_link_falls_is_held_and_is_pushed() -> None:
    """The shoulder, stretched out: limp it falls, in position control it does not."""
    leader = read_arm(CONFIG.with_name('reference_leader.yaml'))

    def fallen(prepare: Callable[[EmulatedServo], object]) -> float:
        bus = emulated_bus(leader, weight=1.0)
        for servo in bus.servos.values():
            put(servo, table.TORQUE_ENABLE, 1)
        shoulder = bus.servos[2]
        before = shoulder.position
        prepare(shoulder)
        for turn in range(61):
            bus.pass_time(turn * 0.005)
        # It turns against the joint, whose angle grows downwards.
        return before - shoulder.position

    def by_hand(servo: EmulatedServo) -> None:
        put(servo, table.TORQUE_ENABLE, 0)
        servo.push = 0.47

    assert abs(fallen(lambda servo: None)) < 1e-3
    assert fallen(lambda servo: put(servo, table.TORQUE_ENABLE, 0)) > 0.2
    assert abs(fallen(by_hand)) < 0.01


def test_what_pushes_too_hard_or_heats_ends_the_torque_until_a_reboot(
    servo: EmulatedServo,
) -> None:
    for harm, bit in (('load', HardwareError.OVERLOAD), ('heat', HardwareError.OVERHEATING)):
        put(servo, table.TORQUE_ENABLE, 1)
        setattr(servo, harm, 60.0 if harm == 'heat' else 1.5)
        servo.advance(0.3)
        servo.advance(0.3)
        assert not servo.torque and servo.value(table.HARDWARE_ERROR) == bit
        assert servo.alert
        assert put(servo, table.TORQUE_ENABLE, 1) == 1
        setattr(servo, harm, 0.0)
        servo.reboot(0.0)
        assert not servo.alert and not servo.answers(0.1) and servo.answers(0.5)


# -- the SDK over a virtual wire ------------------------------------------------------------------


@pytest.fixture
def port() -> VirtualPort:
    bus = EmulatedBus([EmulatedServo(n, MODELS['XL330-M288']) for n in (1, 2, 3)], seed=3)
    port = VirtualPort(bus)
    port.openPort()
    return port


def test_the_sdk_pings_reads_and_writes(port: VirtualPort) -> None:
    assert SDK.ping(port, 2) == (1200, COMM_SUCCESS, 0)
    assert SDK.ping(port, 9)[1] == COMM_RX_TIMEOUT
    assert SDK.write1ByteTxRx(port, 1, 64, 1) == (COMM_SUCCESS, 0)
    assert SDK.read1ByteTxRx(port, 1, 64) == (1, COMM_SUCCESS, 0)
    assert SDK.read4ByteTxRx(port, 1, 132) == (2048, COMM_SUCCESS, 0)
    assert SDK.write1ByteTxRx(port, 1, 11, 3) == (COMM_SUCCESS, 7)
    assert SDK.reboot(port, 1) == (COMM_SUCCESS, 0)
    assert SDK.ping(port, 1)[1] == COMM_RX_TIMEOUT
    port.sleep(0.5)
    assert SDK.read1ByteTxRx(port, 1, 64) == (0, COMM_SUCCESS, 0)
    assert SDK.broadcastPing(port)[0] == {n: [1200, 46] for n in (1, 2, 3)}


def test_the_status_return_level_silences(port: VirtualPort) -> None:
    SDK.write1ByteTxRx(port, 1, 68, 1)
    assert SDK.write1ByteTxRx(port, 1, 64, 1)[0] == COMM_RX_TIMEOUT
    assert SDK.read1ByteTxRx(port, 1, 64)[0] == 1
    SDK.write1ByteTxRx(port, 1, 68, 0)
    assert SDK.read1ByteTxRx(port, 1, 64)[1] == COMM_RX_TIMEOUT
    assert SDK.ping(port, 1)[1] == COMM_SUCCESS


def test_the_sdks_sync_groups(port: VirtualPort) -> None:
    read = GroupSyncRead(port, SDK, 132, 4)
    write = GroupSyncWrite(port, SDK, 116, 4)
    for number in (1, 2, 3):
        SDK.write1ByteTxRx(port, number, 64, 1)
        read.addParam(number)
        # The value looks like the beginning of a header.
        write.addParam(number, [0xFF, 0x0F, 0, 0])
    assert write.txPacket() == COMM_SUCCESS
    port.sleep(3.0)
    assert read.txRxPacket() == COMM_SUCCESS
    assert [read.getData(number, 132, 4) for number in (1, 2, 3)] == [4095] * 3


def test_a_wire_takes_its_time(port: VirtualPort) -> None:
    for number in (1, 2, 3):
        SDK.write1ByteTxRx(port, number, 9, 0)
    began = port.now
    SDK.read4ByteTxRx(port, 1, 132)
    # 14 bytes there and 15 back, 10 us each, and twice the host's delay.
    assert port.now - began == pytest.approx(29 * 10e-6 + 2e-4, abs=2e-4)


def test_lost_and_damaged_packets_never_pass_for_sound_ones(port: VirtualPort) -> None:
    port.bus.faults.damage = 0.3
    port.bus.faults.drop = 0.1
    results = [SDK.read4ByteTxRx(port, 1, 132) for _ in range(400)]
    assert all(value == 2048 for value, result, error in results if result == 0 and not error)
    kinds = {result for _, result, _ in results}
    assert {COMM_SUCCESS, COMM_RX_TIMEOUT} <= kinds
    assert kinds <= {COMM_SUCCESS, COMM_RX_TIMEOUT, COMM_RX_CORRUPT}


def test_behind_a_missing_servo_nobody_answers_a_sync_read(port: VirtualPort) -> None:
    port.bus.faults.missing = frozenset({2})
    SDK.syncReadTx(port, 132, 4, [1, 2, 3], 3, False)
    assert [SDK.readRx(port, number, 4)[1] for number in (1, 2, 3)] == [
        COMM_SUCCESS,
        COMM_RX_TIMEOUT,
        COMM_RX_TIMEOUT,
    ]


# -- behind a real serial port --------------------------------------------------------------------


@pytest.fixture
def device(tmp_path: Path) -> Iterator[SerialDevice]:
    """The reference arm's servos behind a pseudo terminal, served by a thread."""
    device = SerialDevice(emulated_bus(read_arm(CONFIG)), tmp_path / 'port')
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            device.turn()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield device
    ended.set()
    thread.join(10.0)
    device.close()


def patiently(ask: Callable[[], Any]) -> Any:
    """What the SDK is told in the end; on a busy machine its own patience may be too short."""
    for _ in range(200):
        answer = ask()
        if COMM_SUCCESS in answer:
            break
    return answer


def test_the_sdks_own_port_opens_it(device: SerialDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_handler, 'LATENCY_TIMER', LONG_LATENCY)
    port = PortHandler(str(device.link))
    assert port.setBaudRate(1_000_000)
    for number, model in ((1, 1120), (6, 1020)):
        answer = patiently(lambda number=number: SDK.ping(port, number))
        assert answer == (model, COMM_SUCCESS, 0)
    assert patiently(lambda: SDK.read4ByteTxRx(port, 3, 132)) == (2048, COMM_SUCCESS, 0)
    port.closePort()


def test_at_another_baud_rate_nobody_answers(
    device: SerialDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = PortHandler(str(device.link))
    for rate in (57600, 115200, 2_000_000):
        port.setBaudRate(rate)
        assert SDK.ping(port, 1)[1] == COMM_RX_TIMEOUT, rate
    port.setBaudRate(1_000_000)
    monkeypatch.setattr(port_handler, 'LATENCY_TIMER', LONG_LATENCY)
    assert patiently(lambda: SDK.ping(port, 1))[1] == COMM_SUCCESS
    port.closePort()


# -- the program ----------------------------------------------------------------------------------


def test_every_command_answers_with_one_line(tmp_path: Path) -> None:
    device = SerialDevice(emulated_bus(read_arm(CONFIG)), tmp_path / 'port')
    for name, command in COMMANDS.items():
        words = [name, *('1' for _ in command.arguments.split())]
        assert '\n' not in perform(device, ' '.join(words))
        assert perform(device, f'{name} 1 2 3 4').startswith('error: ')
    assert perform(device, 'latency soon') == "error: 'latency' needs SECONDS as numbers"
    assert 'there is no servo 99' in perform(device, 'heat 99 60')
    assert 'there is no command' in perform(device, 'melt 1')
    device.close()


def emulator(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            '-c',
            'from hiwm_robot.dynamixel.emulator.program import main; import sys; sys.exit(main())',
            *arguments,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_program_prints_its_port_and_obeys(tmp_path: Path) -> None:
    link = tmp_path / 'arm'
    with emulator('--config', str(CONFIG), '--link', str(link)) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline().strip() == str(link)
        port = PortHandler(str(link))
        assert port.setBaudRate(1_000_000)
        assert patiently(lambda: SDK.write1ByteTxRx(port, 4, 64, 1)) == (COMM_SUCCESS, 0)
        process.stdin.write('state\nunplug\n')
        process.stdin.flush()
        assert json.loads(process.stdout.readline())['4']['torque'] is True
        assert process.stdout.readline() == 'ok\n'
        assert not link.exists()
        process.send_signal(signal.SIGINT)
        assert process.wait(30.0) == 0
    assert not os.path.lexists(link)


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['--config', '/nowhere.yaml'], 'cannot be read: No such file or directory'),
        (['--config', str(CONFIG), '--angles', '1'], '--angles needs 6 numbers'),
        (['--config', str(CONFIG), '--link', '/nowhere/port'], 'there is no folder /nowhere'),
        (['--config', str(CONFIG), '--weight', '-1'], '--weight is -1; it must be 0 to 10'),
    ],
)
def test_the_program_refuses_in_one_sentence(arguments: list[str], sentence: str) -> None:
    with emulator(*arguments) as process:
        _, errors = process.communicate(timeout=60.0)
    assert process.returncode == 1
    assert sentence in errors and errors.count('\n') == 1


def test_an_arm_may_have_any_baud_rate(tmp_path: Path) -> None:
    data = reference()
    data['baud_rate'] = 57600
    bus = emulated_bus(read_arm(write_arm(tmp_path, data)))
    port = VirtualPort(bus)
    port.openPort()
    assert SDK.read1ByteTxRx(port, 1, 8) == (1, COMM_SUCCESS, 0)
