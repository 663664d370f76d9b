# SPDX-License-Identifier: Apache-2.0
"""A bag whose recorder was killed is made whole, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import Reader

from hiwm_core.bag_reader import BagReader
from hiwm_core.bag_recovery import recover_bag, unfinished_bags
from hiwm_core.contract import IMAGE, MUX_STATE, RECORDED_TOPICS, RIG_TREE
from hiwm_core.error import HiwmError
from hiwm_core.live_mark import BeingRecordedError, LiveMark
from hiwm_core.mcap_file import McapError, is_whole, read_summary, salvage
from hiwm_core.session_bag import SessionBag
import rosbag2_py

Messages = list[tuple[str, bytes, int]]
CUSTOM_DATA = {'session': 'seven', 'task': 'pusht'}
START = 1_700_000_000_000_000_000


def sample(count: int, size: int = 20_000) -> Messages:
    random = np.random.default_rng(7)
    topics = (IMAGE, MUX_STATE, RIG_TREE)
    return [
        (
            topics[number % 3].name,
            b'\0\1\0\0' + random.bytes(size if number % 3 == 0 else 40),
            START + number * 10_000_000,
        )
        for number in range(count)
    ]


def record(bag: Path, messages: Messages, max_file_bytes: int = 0) -> None:
    with SessionBag(bag, RECORDED_TOPICS, CUSTOM_DATA, max_file_bytes=max_file_bytes) as open_bag:
        for message in messages:
            open_bag.write(*message)


def contents(bag: Path) -> Messages:
    with Reader(bag) as reader:
        return [(each.topic, bytes(data), stamp) for each, stamp, data in reader.messages()]


def contents_by_rosbag2(bag: Path) -> Messages:
    reader = rosbag2_py.SequentialReader()
    reader.open(
        rosbag2_py.StorageOptions(uri=str(bag), storage_id='mcap'),
        rosbag2_py.ConverterOptions('', ''),
    )
    found = []
    while reader.has_next():
        found.append(reader.read_next())
    return found


def tear(bag: Path, size: int) -> None:
    """As a kill leaves it: no metadata, the last file torn, the room for its end still reserved."""
    file = sorted(bag.glob('*.mcap'))[-1]
    file.write_bytes(file.read_bytes()[:size])
    (bag / 'metadata.yaml').unlink(missing_ok=True)
    (bag / '.reserve').write_bytes(bytes(10))


def test_a_bag_torn_anywhere_is_whole_up_to_there(tmp_path: Path) -> None:
    messages = sample(240)
    bag = tmp_path / 'bag'
    record(bag, messages)
    whole = (bag / 'bag_0.mcap').read_bytes()
    counts = []
    for size in np.linspace(1500, len(whole) - 1, 24).astype(int):
        (bag / 'bag_0.mcap').write_bytes(whole)
        tear(bag, int(size))
        assert unfinished_bags(tmp_path) == [bag]
        recovery = recover_bag(bag)
        assert unfinished_bags(tmp_path) == []
        kept = contents(bag)
        assert kept == messages[: len(kept)]
        assert recovery.messages == len(kept)
        assert f'{len(kept)} messages' in recovery.sentence
        assert sorted(path.name for path in bag.iterdir()) == ['bag_0.mcap', 'metadata.yaml']
        counts.append(len(kept))
    assert counts == sorted(counts) and counts[0] < 10 and counts[-1] == 240
    assert contents_by_rosbag2(bag) == messages


def test_a_recovered_bag_says_of_itself_what_the_original_did(tmp_path: Path) -> None:
    messages = sample(90)
    bag = tmp_path / 'bag'
    record(bag, messages)
    original = rosbag2_py.Info().read_metadata(str(bag), 'mcap')
    tear(bag, (bag / 'bag_0.mcap').stat().st_size - 300)
    recover_bag(bag)
    recovered = rosbag2_py.Info().read_metadata(str(bag), 'mcap')
    for name in ('message_count', 'duration', 'starting_time', 'version'):
        assert getattr(recovered, name) == getattr(original, name), name
    assert recovered.custom_data == original.custom_data | {'recovered': 'true'}
    topics = {each.topic_metadata.name: each for each in recovered.topics_with_message_count}
    for each in original.topics_with_message_count:
        mine = topics[each.topic_metadata.name]
        assert mine.message_count == each.message_count
        assert mine.topic_metadata.equals(each.topic_metadata)
    with BagReader(bag) as reader:
        assert reader.custom_data == recovered.custom_data
    # The file alone says the same.
    summary = read_summary(bag / 'bag_0.mcap')
    assert summary.messages == 90
    assert (summary.first, summary.last) == (messages[0][2], messages[-1][2])


def test_only_the_torn_file_of_a_split_bag_is_written(tmp_path: Path) -> None:
    messages = sample(240)
    bag = tmp_path / 'session' / 'bag'
    record(bag, messages, max_file_bytes=300_000)
    files = sorted(bag.glob('*.mcap'))
    assert len(files) >= 4
    assert contents(bag) == messages
    tear(bag, files[-1].stat().st_size // 2)
    before = {file.name: file.stat().st_ino for file in files[:-1]}
    assert unfinished_bags(tmp_path) == [bag]
    recover_bag(bag)
    assert {file.name: file.stat().st_ino for file in files[:-1]} == before
    kept = contents(bag)
    assert kept == messages[: len(kept)]
    assert 180 < len(kept) < 240
    assert contents_by_rosbag2(bag) == kept


def test_a_damaged_file_gives_a_whole_one_or_a_sentence(tmp_path: Path) -> None:
    bag = tmp_path / 'bag'
    record(bag, sample(120))
    whole = (bag / 'bag_0.mcap').read_bytes()
    random = np.random.default_rng(3)
    torn, target = tmp_path / 'torn.mcap', tmp_path / 'target.mcap'
    for at in random.integers(0, len(whole), 60):
        torn.write_bytes(whole[:at] + random.bytes(9) + whole[at + 9 : len(whole) - 8])
        try:
            salvaged = salvage(torn, target)
        except McapError as error:
            assert 'torn.mcap' in str(error)
        else:
            assert is_whole(target)
            assert read_summary(target).messages == salvaged.messages <= 120
        target.unlink(missing_ok=True)


def test_an_interrupted_recovery_can_be_done_again(tmp_path: Path) -> None:
    messages = sample(60)
    bag = tmp_path / 'bag'
    record(bag, messages)
    tear(bag, (bag / 'bag_0.mcap').stat().st_size - 300)
    (bag / '.bag_0.mcap.recovering').write_bytes(b'half a file')
    (bag / '.metadata.yaml.recovering').write_text('half')
    recover_bag(bag)
    assert contents(bag) == messages
    assert recover_bag(bag).messages == 60


def test_the_mark_tells_what_is_lost(tmp_path: Path) -> None:
    messages = sample(60)
    bag = tmp_path / 'bag'
    record(bag, messages)
    mark = LiveMark(bag)
    mark.update(63)
    assert unfinished_bags(tmp_path) == unfinished_bags(bag) == []
    with pytest.raises(BeingRecordedError, match='is being recorded'):
        recover_bag(bag)
    mark.release()
    assert unfinished_bags(tmp_path) == [bag]
    recovery = recover_bag(bag)
    assert recovery.lost_messages == 3
    assert '3 messages are lost, of its last' in recovery.sentence
    assert unfinished_bags(tmp_path) == []
    assert not list(tmp_path.glob('.*'))


def test_what_was_killed_at_once_is_put_aside(tmp_path: Path) -> None:
    bag = tmp_path / 'one' / 'bag'
    record(bag, sample(240), max_file_bytes=300_000)
    last = sorted(bag.glob('*.mcap'))[-1]
    tear(bag, 5)
    kept = recover_bag(bag)
    assert kept.messages == len(contents(bag)) > 100
    assert not last.exists()
    assert last.with_name(f'{last.name}.torn').read_bytes() == b'\x89MCAP'

    empty = tmp_path / 'two' / 'bag'
    empty.mkdir(parents=True)
    (empty / '.reserve').write_bytes(b'')
    assert unfinished_bags(tmp_path) == [empty]
    with pytest.raises(HiwmError, match='holds nothing'):
        recover_bag(empty)
    assert not empty.exists()


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    record(tmp_path / 'data' / 'episode', sample(3))
    tear(tmp_path / 'data' / 'episode', 2000)
    (tmp_path / 'session' / 'baggage').mkdir(parents=True)
    assert unfinished_bags(tmp_path) == []
    assert unfinished_bags(tmp_path / 'nowhere') == []
