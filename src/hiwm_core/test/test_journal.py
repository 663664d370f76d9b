# SPDX-License-Identifier: Apache-2.0
"""The journal keeps what it acknowledged, whatever happens to the process, the file or the disk."""

from __future__ import annotations

from collections.abc import Iterator
import errno
import hashlib
import logging
import os
from pathlib import Path
import random
import resource
import signal
import struct
import subprocess
import sys
import time

import pytest

from hiwm_core import journal as journal_module
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.journal import HEADER, MAGIC, MARK, TAIL_BYTES, Journal

RECORDS = [b'first', b'', b'\0' * 30, bytes(range(256))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with the records above, closed."""
    path = tmp_path / 'folder' / 'a.journal'
    write(path, RECORDS)
    return path


def write(path: Path, records: list[bytes]) -> None:
    journal = Journal(path)
    for record in records:
        journal.append(record)
    journal.close()


def records(path: Path) -> list[bytes]:
    """Every record, through a fresh opening."""
    journal = Journal(path)
    try:
        return [journal.read(number) for number in range(len(journal))]
    finally:
        journal.close()


def test_records_come_back_and_more_follow_them(path: Path) -> None:
    assert records(path) == RECORDS
    journal = Journal(path)
    assert journal.append(b'more') == len(RECORDS)
    assert journal.read(len(RECORDS)) == b'more'
    journal.close()
    assert records(path) == [*RECORDS, b'more']
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_tail_torn_at_any_byte_costs_the_torn_record_alone(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = path.read_bytes()
    last = len(whole) - HEADER.size - len(RECORDS[-1])
    for length in range(last, len(whole)):
        path.write_bytes(whole[:length])
        for kept in path.parent.glob('*.cut-*'):
            kept.unlink()
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert records(path) == RECORDS[:-1]
        assert path.read_bytes() == whole[:last]
        if length > last:
            assert f'{length - last} damaged bytes' in caplog.text
            assert path.with_name(f'{path.name}.cut-1').read_bytes() == whole[last:length]
    write(path, [b'again'])
    assert records(path) == [*RECORDS[:-1], b'again']


def test_a_flipped_bit_anywhere_is_never_read_as_a_record(path: Path) -> None:
    whole = path.read_bytes()
    starts = [len(MAGIC)]
    for record in RECORDS:
        starts.append(starts[-1] + HEADER.size + len(record))
    for place in range(len(MAGIC), len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        sound = sum(place >= end for end in starts[1:])
        assert records(path) == RECORDS[:sound]
        kept = path.with_name(f'{path.name}.cut-1')
        assert kept.read_bytes() == damaged[starts[sound] :], 'what was cut is kept'
        kept.unlink()


def test_zeros_that_a_crash_left_behind_are_no_records(path: Path) -> None:
    with path.open('ab') as file:
        file.write(bytes(4096))
    assert records(path) == RECORDS


def test_what_was_cut_before_is_not_overwritten(path: Path) -> None:
    for number in range(3):
        with path.open('ab') as file:
            file.write(b'damage %d' % number)
        records(path)
    kept = [path.with_name(f'{path.name}.cut-{number}').read_bytes() for number in (1, 2, 3)]
    assert kept == [b'damage 0', b'damage 1', b'damage 2']


def test_damage_under_an_open_journal_is_reported(path: Path) -> None:
    journal = Journal(path)
    with path.open('r+b') as file:
        file.seek(len(MAGIC) + HEADER.size)
        file.write(b'F')
    with pytest.raises(HiwmError, match=r'record 0 of .* is damaged on disk') as error:
        journal.read(0)
    assert error.value.code is ErrorCode.STORAGE_FAULT
    os.truncate(path, len(MAGIC) + 3)
    with pytest.raises(HiwmError, match=r'record 2 of .* is damaged on disk'):
        journal.read(2)
    journal.close()


@pytest.mark.parametrize('length', range(len(MAGIC)))
def test_a_kill_while_the_file_was_made_leaves_an_empty_journal(
    tmp_path: Path, length: int
) -> None:
    path = tmp_path / 'a'
    path.write_bytes(MAGIC[:length])
    assert records(path) == []
    assert path.read_bytes() == MAGIC


@pytest.mark.parametrize('content', [b'x', b'HIWMLOX', b'HIWMLOG1' + bytes(99), b'a long file ...'])
def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'a'
    path.write_bytes(content)
    with pytest.raises(
        HiwmError, match='is not a journal of this version of the program; move it away'
    ) as error:
        Journal(path)
    assert error.value.code is ErrorCode.STORAGE_FAULT
    assert path.read_bytes() == content


def test_a_second_session_is_refused(path: Path) -> None:
    journal = Journal(path)
    with pytest.raises(HiwmError, match='is in use by another session; end that one'):
        Journal(path)
    journal.append(b'more')
    journal.close()
    assert records(path) == [*RECORDS, b'more']


def test_places_that_cannot_hold_a_journal_are_refused(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    (tmp_path / 'folder').mkdir()
    for path in (tmp_path / 'file' / 'a', tmp_path / 'folder'):
        with pytest.raises(HiwmError, match=r'could not be opened: .*; check the folder') as error:
            Journal(path)
        assert error.value.code is ErrorCode.STORAGE_FAULT


def test_a_closed_journal_refuses_and_touches_no_other_file(path: Path, tmp_path: Path) -> None:
    journal = Journal(path)
    journal.close()
    # The number of the closed file is the next file's.
    with (tmp_path / 'other').open('w+b') as other:
        with pytest.raises(HiwmError, match='could not be written'):
            journal.append(b'late')
        with pytest.raises(HiwmError, match='could not be read'):
            journal.read(0)
        assert other.read() == b''
    journal.close()


# -- damage --------------------------------------------------------------------------------------


def flip(data: bytes, begin: int, dice: random.Random) -> bytes:
    """Some bits changed from a place on, at most a few hundred bytes apart."""
    damaged = bytearray(data)
    first = dice.randrange(begin, len(data))
    for _ in range(dice.randint(1, 8)):
        place = min(first + dice.randrange(300), len(data) - 1)
        damaged[place] ^= 1 << dice.randrange(8)
    return bytes(damaged)


def spoil(data: bytes, begin: int, dice: random.Random) -> bytes:
    """What a crash or a bad disk may make of the end of a file, from a place on."""
    place = dice.randrange(begin, len(data))
    length = dice.randrange(1, 2000)
    match dice.randrange(4):
        case 0:
            return data[:place]
        case 1:
            return data + dice.choice((bytes(length), dice.randbytes(length)))
        case 2:
            return data[:place] + bytes(min(length, len(data) - place)) + data[place + length :]
        case _:
            return flip(data, begin, dice)


@pytest.mark.parametrize('seed', range(8))
def test_a_spoilt_tail_costs_what_was_damaged_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    dice = random.Random(seed)
    for trial in range(40):
        written = [dice.randbytes(dice.choice((0, 9, 700, 4000))) for _ in range(30)]
        path = tmp_path / str(trial) / 'a'
        write(path, written)
        whole = path.read_bytes()
        ends = [len(MAGIC)]
        for record in written:
            ends.append(ends[-1] + HEADER.size + len(record))
        spoilt = spoil(whole, ends[-1 - dice.randint(1, 4)], dice)
        path.write_bytes(spoilt)
        both = min(len(whole), len(spoilt))
        same = next((place for place in range(both) if whole[place] != spoilt[place]), both)
        sound = sum(end <= same for end in ends[1:])
        cut = len(spoilt) - ends[sound]
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert records(path) == written[:sound], f'seed {seed}, trial {trial}'
        assert path.read_bytes() == whole[: ends[sound]]
        if cut:
            assert f'{path} ended in {cut} damaged bytes' in caplog.text
            assert path.with_name('a.cut-1').read_bytes() == spoilt[ends[sound] :]
        else:
            assert not caplog.text
        caplog.clear()
        write(path, [b'more'])
        assert records(path) == [*written[:sound], b'more']
        assert not caplog.text, 'it is whole again'


@pytest.fixture
def long_path(tmp_path: Path) -> Path:
    """A journal of 30 records, several tails long."""
    path = tmp_path / 'long'
    write(path, [bytes([number]) * 9000 for number in range(30)])
    return path


def test_damage_in_the_middle_is_refused_and_nothing_is_changed(long_path: Path) -> None:
    whole = long_path.read_bytes()
    dice = random.Random(1)
    size = HEADER.size + 9000
    for part in (0, 4, 7, 8, 11, 12, size - 1, *(dice.randrange(size) for _ in range(20))):
        number = dice.randrange(20)
        begin = len(MAGIC) + number * size
        damaged = bytearray(whole)
        damaged[begin + part] ^= 1 << dice.randrange(8)
        long_path.write_bytes(damaged)
        with pytest.raises(HiwmError, match='nothing was changed; restore it') as error:
            Journal(long_path)
        assert error.value.code is ErrorCode.STORAGE_FAULT
        assert f'{long_path} is damaged at byte {begin} and goes on' in error.value.message
        assert long_path.read_bytes() == damaged
        assert list(long_path.parent.iterdir()) == [long_path]
    # The way out that the sentence names.
    os.truncate(long_path, begin)
    assert len(records(long_path)) == number


def test_a_long_stretch_without_a_whole_record_is_a_tail(
    long_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = long_path.read_bytes()
    size = HEADER.size + 9000
    end = len(MAGIC) + 10 * size
    for rest in (
        bytes(len(whole) - end),
        MARK * 20_000,
        HEADER.pack(MARK, 2 * TAIL_BYTES, 0) + bytes(2 * TAIL_BYTES),
    ):
        long_path.write_bytes(whole[:end] + rest)
        with caplog.at_level(logging.WARNING):
            assert len(records(long_path)) == 10
        assert f'ended in {len(rest)} damaged bytes' in caplog.text


@pytest.mark.parametrize('block', [4, 5, 11, 8999, 9012, 20_000])
def test_blocks_may_end_anywhere(
    long_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    whole = long_path.read_bytes()
    monkeypatch.setattr(journal_module, 'BLOCK_BYTES', block)
    assert len(records(long_path)) == 30
    damaged = bytearray(whole)
    damaged[len(MAGIC)] ^= 1
    # Only the very last record is sound, so that the search for one passes many blocks.
    for number in range(1, 29):
        damaged[len(MAGIC) + number * (HEADER.size + 9000) + 5000] ^= 1
    long_path.write_bytes(damaged)
    with pytest.raises(HiwmError, match=f'damaged at byte {len(MAGIC)} and goes on'):
        Journal(long_path)


def test_what_reading_refuses_leaves_the_file_as_it_is(path: Path) -> None:
    def refuse(number: int, payload: bytes) -> None:
        assert payload == RECORDS[number]
        if number == 2:
            raise HiwmError('not this one')

    torn = path.read_bytes()[:-1]
    path.write_bytes(torn)
    with pytest.raises(HiwmError, match='not this one'):
        Journal(path, refuse)
    assert path.read_bytes() == torn
    assert records(path) == RECORDS[:-1]


# -- the disk ------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB; the test is left out where nobody may mount one."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=64k', 'none', str(folder)]
    try:
        mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip('mounting needs root')
    yield folder
    subprocess.run(['umount', str(folder)], check=True)


def test_a_full_disk_is_a_fault_that_loses_nothing(small_disk: Path) -> None:
    path = small_disk / 'a'
    journal = Journal(path)
    written = 0
    with pytest.raises(HiwmError, match=os.strerror(errno.ENOSPC)) as error:
        for written in range(100):
            journal.append(bytes([written]) * 3000)
    assert error.value.code is ErrorCode.STORAGE_FAULT
    assert 15 < written < 22
    assert len(journal) == written
    assert journal.append(b'small'), 'what still fits is still taken'
    journal.close()
    expected = [bytes([number]) * 3000 for number in range(written)]
    assert records(path) == [*expected, b'small']


def test_a_disk_too_full_for_a_journal_is_a_fault(small_disk: Path) -> None:
    with pytest.raises(OSError, match='No space'):
        (small_disk / 'filler').write_bytes(bytes(100_000))
    with pytest.raises(HiwmError, match='could not be opened: No space'):
        Journal(small_disk / 'a')


LIMITED = """
import sys
from pathlib import Path
from hiwm_core.error import HiwmError
from hiwm_core.journal import Journal
journal = Journal(Path(sys.argv[1]))
try:
    while True:
        journal.append(b'r' * 3000)
except HiwmError as error:
    print(len(journal), error.message, int(error.code))
"""


def test_a_limit_on_the_files_size_is_a_fault_that_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / 'a'
    ended = subprocess.run(
        [sys.executable, '-c', LIMITED, str(path)],
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )
    count, sentence = ended.stdout.split(maxsplit=1)
    assert f'{path} could not be written: {os.strerror(errno.EFBIG)}' in sentence
    assert sentence.split()[-1] == str(int(ErrorCode.STORAGE_FAULT))
    assert int(count) == 16
    assert records(path) == [b'r' * 3000] * 16
    assert path.stat().st_size == len(MAGIC) + 16 * (HEADER.size + 3000)


# -- the process ---------------------------------------------------------------------------------

WRITER = """
import hashlib, os, struct, sys
from pathlib import Path
from hiwm_core.journal import Journal
journal = Journal(Path(sys.argv[1]))
number = len(journal)
while True:
    digest = hashlib.sha256(b'%d' % number).digest()
    journal.append(digest * (number * 7919 % 4000))
    number += 1
    os.write(1, struct.pack('<I', number))
"""


def test_a_kill_at_any_moment_loses_nothing_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / 'a'
    moments = random.Random(0)
    before = 0
    for _ in range(8):
        with subprocess.Popen(
            [sys.executable, '-c', WRITER, str(path)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            acknowledged = writer.stdout.read(4)
            time.sleep(moments.uniform(0.0, 0.1))
            writer.send_signal(signal.SIGKILL)
            acknowledged += writer.stdout.read()
        (count,) = struct.unpack_from('<I', acknowledged, len(acknowledged) // 4 * 4 - 4)
        assert count > before
        journal = Journal(path)
        assert count <= len(journal) <= count + 1
        for number in range(before, len(journal)):
            digest = hashlib.sha256(b'%d' % number).digest()
            assert journal.read(number) == digest * (number * 7919 % 4000)
        before = len(journal)
        journal.close()
