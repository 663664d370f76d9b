# SPDX-License-Identifier: Apache-2.0
"""The stand-in for rosbag2_py, from outside: round trips, other readers, faults."""

from __future__ import annotations

import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import textwrap
import time

from hiwm_msgs.msg import Action
import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import Image
from std_msgs.msg import String

import rosbag2_py
from rosbag2_py._storage import (
    Duration,
    QoS,
    rmw_qos_durability_policy_t,
    rmw_qos_reliability_policy_t,
)

START = 1_700_000_000_000_000_000
TYPES = {
    '/chatter': ('std_msgs/msg/String', String),
    '/image': ('sensor_msgs/msg/Image', Image),
    '/action': ('hiwm_msgs/msg/Action', Action),
}
# Writes messages of 27 kB and says on its output how many are in; what follows is filled in.
WRITER = """
import resource, signal, sys, time
import rosbag2_py
writer = rosbag2_py.SequentialWriter()
def open_bag(uri):
    writer.open(
        rosbag2_py.StorageOptions(uri, 'mcap', custom_data={'session': 'seven'}),
        rosbag2_py.ConverterOptions('', ''))
    writer.create_topic(rosbag2_py.TopicMetadata(
        id=0, name='/image', type='sensor_msgs/msg/Image', serialization_format='cdr'))
def content(index):
    return index.to_bytes(4, 'little') * 6912
def write(index):
    writer.write('/image', content(index), 1000 + index)
"""


def content(index: int) -> bytes:
    return index.to_bytes(4, 'little') * 6912


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def open_writer(path: Path, **options: object) -> rosbag2_py.SequentialWriter:
    writer = rosbag2_py.SequentialWriter()
    writer.open(
        rosbag2_py.StorageOptions(uri=str(path), storage_id='mcap', **options),
        rosbag2_py.ConverterOptions('', ''),
    )
    return writer


def create(writer: rosbag2_py.SequentialWriter, name: str, *qos: QoS) -> None:
    writer.create_topic(
        rosbag2_py.TopicMetadata(
            id=0,
            name=name,
            type=TYPES[name][0],
            serialization_format='cdr',
            offered_qos_profiles=list(qos),
        )
    )


def open_reader(path: Path) -> rosbag2_py.SequentialReader:
    reader = rosbag2_py.SequentialReader()
    reader.open(
        rosbag2_py.StorageOptions(uri=str(path), storage_id='mcap'),
        rosbag2_py.ConverterOptions('', ''),
    )
    return reader


def rest(reader: rosbag2_py.SequentialReader) -> list[tuple[str, bytes, int]]:
    messages = []
    while reader.has_next():
        messages.append(reader.read_next())
    return messages


def sample_messages(count: int) -> list[tuple[str, bytes, int]]:
    rng = np.random.default_rng(3)
    messages = []
    for index in range(count):
        image = Image(height=96, width=96, encoding='rgb8', step=288)
        image.data.frombytes(rng.integers(0, 256, 96 * 96 * 3, np.uint8).tobytes())
        action = Action(names=['x', 'y'], values=rng.normal(size=2).tolist(), seq=index)
        action.header.stamp.sec = index
        for topic, message in (
            ('/chatter', String(data=f'message {index} é')),
            ('/image', image),
            ('/action', action),
        ):
            messages.append((topic, serialize_message(message), START + index * 100_000_000))
    return messages


def write_sample(path: Path, messages: list[tuple[str, bytes, int]], **options: object) -> None:
    writer = open_writer(path, **options)
    for name in TYPES:
        create(writer, name)
    for message in messages:
        writer.write(*message)
    writer.close()


@pytest.mark.parametrize('preset', ['', 'none', 'fastwrite', 'zstd_fast', 'zstd_small'])
def test_round_trip_is_bit_exact(tmp_path: Path, preset: str) -> None:
    messages = sample_messages(60)
    write_sample(tmp_path / 'bag', messages, storage_preset_profile=preset)
    assert names(tmp_path / 'bag') == ['bag_0.mcap', 'metadata.yaml']
    reader = open_reader(tmp_path / 'bag')
    assert rest(reader) == messages
    kinds = {topic.name: topic.type for topic in reader.get_all_topics_and_types()}
    assert kinds == {name: kind for name, (kind, _) in TYPES.items()}
    last = deserialize_message(messages[-1][1], Action)
    assert last.seq == 59 and list(last.names) == ['x', 'y']


def test_zstd_is_smaller(tmp_path: Path) -> None:
    data = serialize_message(Image(data=[7] * 30000))
    messages = [('/image', data, START + index) for index in range(9)]
    write_sample(tmp_path / 'plain', messages)
    write_sample(tmp_path / 'small', messages, storage_preset_profile='zstd_fast')
    sizes = [
        rosbag2_py.Info().read_metadata(str(tmp_path / name), 'mcap').bag_size
        for name in ('plain', 'small')
    ]
    assert sizes[0] > 9 * 30000 > 10 * sizes[1]


def test_messages_come_in_the_order_of_their_stamps(tmp_path: Path) -> None:
    stamps = np.random.default_rng(5).permutation(300)
    writer = open_writer(tmp_path / 'bag')
    create(writer, '/image')
    for stamp in stamps:
        writer.write('/image', content(int(stamp)), int(stamp))
    writer.close()
    read = rest(open_reader(tmp_path / 'bag'))
    assert [stamp for _, _, stamp in read] == list(range(300))
    assert all(data == content(stamp) for _, data, stamp in read)


def test_plain_rosbags_decodes_with_the_embedded_definitions(tmp_path: Path) -> None:
    write_sample(tmp_path / 'bag', sample_messages(5), storage_preset_profile='zstd_fast')
    script = textwrap.dedent("""
        import json, sys
        from pathlib import Path
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import get_typestore, Stores
        empty = get_typestore(Stores.EMPTY)
        with AnyReader([Path(sys.argv[1])], default_typestore=empty) as reader:
            actions = [
                reader.deserialize(data, connection.msgtype)
                for connection, _, data in reader.messages()
                if connection.topic == '/action']
            print(json.dumps({
                'values': [action.values.tolist() for action in actions],
                'names': actions[0].names,
                'stamped': {c.msgtype: c.digest for c in reader.connections},
                'computed': {c.msgtype: reader.typestore.hash_rihs01(c.msgtype)
                             for c in reader.connections}}))
    """)
    bare = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    bare['AMENT_PREFIX_PATH'] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, '-c', script, str(tmp_path / 'bag')],
        env=bare,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    expected = [
        list(deserialize_message(data, Action).values)
        for topic, data, _ in sample_messages(5)
        if topic == '/action'
    ]
    assert found['values'] == expected
    assert found['names'] == ['x', 'y']
    assert found['stamped'] == found['computed']
    assert set(found['stamped']) == {kind for kind, _ in TYPES.values()}


def test_metadata_keeps_qos_custom_data_and_counts(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / 'bag', custom_data={'session': 's1', 'task': 'pusht'})
    latched = QoS(1).reliable().transient_local()
    sensor = (
        QoS(5)
        .reliability(rmw_qos_reliability_policy_t.RMW_QOS_POLICY_RELIABILITY_BEST_EFFORT)
        .durability(rmw_qos_durability_policy_t.RMW_QOS_POLICY_DURABILITY_VOLATILE)
        .deadline(Duration(2, 5))
    )
    create(writer, '/chatter', latched)
    create(writer, '/image', sensor, latched)
    writer.write('/image', content(1), START)
    writer.write('/image', content(2), START + 7)
    writer.close()
    reader = open_reader(tmp_path / 'bag')
    metadata = reader.get_metadata()
    assert metadata.custom_data == {'session': 's1', 'task': 'pusht'}
    assert metadata.message_count == 2
    assert metadata.duration.nanoseconds == 7
    assert metadata.starting_time.nanoseconds == START
    counts = {
        topic.topic_metadata.name: topic.message_count
        for topic in metadata.topics_with_message_count
    }
    assert counts == {'/chatter': 0, '/image': 2}
    offered = {
        topic.name: [
            rosbag2_py.convert_rclcpp_qos_to_rclpy_qos(qos) for qos in topic.offered_qos_profiles
        ]
        for topic in reader.get_all_topics_and_types()
    }
    assert [qos.durability.name for qos in offered['/chatter']] == ['TRANSIENT_LOCAL']
    assert [qos.reliability.name for qos in offered['/image']] == ['BEST_EFFORT', 'RELIABLE']
    assert [qos.depth for qos in offered['/image']] == [5, 1]
    assert offered['/image'][0].deadline.nanoseconds == 2_000_000_005
    # The file alone says the same.
    with Reader(tmp_path / 'bag' / 'bag_0.mcap') as alone:
        policies = {c.topic: c.ext.offered_qos_profiles for c in alone.connections}
    assert [qos.depth for qos in policies['/image']] == [5, 1]


def test_filter_and_seek(tmp_path: Path) -> None:
    messages = sample_messages(20)
    write_sample(tmp_path / 'bag', messages)
    reader = open_reader(tmp_path / 'bag')

    reader.set_filter(rosbag2_py.StorageFilter(topics=['/chatter', '/none']))
    assert rest(reader) == [message for message in messages if message[0] == '/chatter']
    reader.reset_filter()
    reader.seek(START + 1_500_000_000)
    assert rest(reader) == messages[45:]
    reader.seek(START)
    reader.set_filter(rosbag2_py.StorageFilter(regex='^/(im|ac)', exclude_topics=['/action']))
    assert {topic for topic, _, _ in rest(reader)} == {'/image'}
    reader.seek(START)
    reader.set_filter(rosbag2_py.StorageFilter(topics=['/none']))
    assert not reader.has_next()
    assert reader.set_read_order(rosbag2_py.ReadOrder())


def test_a_new_filter_keeps_the_place_in_the_bag(tmp_path: Path) -> None:
    messages = sample_messages(4)
    write_sample(tmp_path / 'bag', messages)
    reader = open_reader(tmp_path / 'bag')
    first = [reader.read_next() for _ in range(4)]
    # All three messages of an instant bear one stamp; none may be lost or come twice.
    reader.set_filter(rosbag2_py.StorageFilter(topics=['/image', '/chatter']))
    assert first + rest(reader) == [
        message for message in messages if message in first or message[0] != '/action'
    ]


def test_a_bag_is_split_by_size_and_read_as_one(tmp_path: Path) -> None:
    messages = sample_messages(30)
    write_sample(tmp_path / 'bag', messages, max_bagfile_size=200_000)
    metadata = rosbag2_py.Info().read_metadata(str(tmp_path / 'bag'), 'mcap')
    assert metadata.relative_file_paths == [f'bag_{i}.mcap' for i in range(len(metadata.files))]
    assert len(metadata.files) >= 4
    assert sum(file.message_count for file in metadata.files) == metadata.message_count == 90
    assert rest(open_reader(tmp_path / 'bag')) == messages


def test_split_by_hand_and_by_duration(tmp_path: Path) -> None:
    messages = sample_messages(30)
    write_sample(tmp_path / 'timed', messages, max_bagfile_duration=1)
    assert len(rosbag2_py.Info().read_metadata(str(tmp_path / 'timed'), '').files) == 3
    assert rest(open_reader(tmp_path / 'timed')) == messages
    writer = open_writer(tmp_path / 'manual')
    create(writer, '/chatter')
    writer.write(*messages[0])
    writer.split_bagfile()
    writer.write(*messages[3])
    writer.close()
    assert rest(open_reader(tmp_path / 'manual')) == [messages[0], messages[3]]
    assert (tmp_path / 'manual' / 'manual_1.mcap').is_file()


def test_a_dropped_writer_closes_its_bag(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / 'bag')
    create(writer, '/chatter')
    writer.write('/chatter', serialize_message(String(data='x')), START)
    del writer
    assert len(rest(open_reader(tmp_path / 'bag'))) == 1


def test_empty_bags_and_topics(tmp_path: Path) -> None:
    open_writer(tmp_path / 'none').close()
    assert not open_reader(tmp_path / 'none').has_next()
    writer = open_writer(tmp_path / 'silent')
    create(writer, '/chatter')
    writer.close()
    reader = open_reader(tmp_path / 'silent')
    assert not reader.has_next()
    assert [topic.name for topic in reader.get_all_topics_and_types()] == ['/chatter']
    (definition,) = reader.get_all_message_definitions()
    assert definition.encoding == 'ros2msg'
    assert 'string data' in definition.encoded_message_definition


def test_a_type_that_is_not_installed_is_stored_undescribed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = open_writer(tmp_path / 'bag')
    writer.create_topic(
        rosbag2_py.TopicMetadata(
            id=0, name='/odd', type='odd_msgs/msg/Odd', serialization_format='cdr'
        )
    )
    writer.write('/odd', b'\x00\x01\x00\x00abcd', START)
    writer.close()
    assert 'odd_msgs/msg/Odd' in capsys.readouterr().err
    assert rest(open_reader(tmp_path / 'bag')) == [('/odd', b'\x00\x01\x00\x00abcd', START)]


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        ({'storage_id': 'rosbag3'}, "no storage plugin 'rosbag3'"),
        ({'storage_id': 'sqlite3'}, "writes 'mcap' only"),
        ({'storage_preset_profile': 'tiny'}, "unknown MCAP storage preset profile 'tiny'"),
        ({'storage_config_uri': 'none.yaml'}, "cannot read the storage options 'none.yaml'"),
        ({'snapshot_mode': True}, 'snapshot_mode is not supported'),
        ({'max_bagfile_size': 10}, 'below the smallest size of a split'),
    ],
)
def test_options_without_effect_are_refused(
    tmp_path: Path, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(RuntimeError, match=sentence):
        rosbag2_py.SequentialWriter().open(
            rosbag2_py.StorageOptions(**({'uri': str(tmp_path / 'bag')} | options)),
            rosbag2_py.ConverterOptions('', ''),
        )
    assert not (tmp_path / 'bag').exists()


def test_faults_of_writing_get_a_sentence(tmp_path: Path) -> None:
    (tmp_path / 'taken').mkdir()
    with pytest.raises(RuntimeError, match=r"taken.*can't overwrite existing bag"):
        open_writer(tmp_path / 'taken')
    (tmp_path / 'file').write_text('')
    with pytest.raises(RuntimeError, match=r'Failed to create bag directory .*Not a directory'):
        open_writer(tmp_path / 'file' / 'bag')
    closed = rosbag2_py.SequentialWriter()
    with pytest.raises(RuntimeError, match='Bag is not open'):
        closed.write('/chatter', b'', START)
    writer = open_writer(tmp_path / 'bag')
    with pytest.raises(RuntimeError, match="Topic '/chatter' has not been created yet"):
        writer.write('/chatter', b'', START)
    create(writer, '/chatter')
    create(writer, '/chatter')
    with pytest.raises(RuntimeError, match="exists with type 'std_msgs/msg/String'"):
        writer.create_topic(
            rosbag2_py.TopicMetadata(
                id=0, name='/chatter', type='std_msgs/msg/Bool', serialization_format='cdr'
            )
        )
    with pytest.raises(TypeError, match=r'must hold rosbag2_py._storage.QoS'):
        rosbag2_py.TopicMetadata(
            id=0,
            name='/x',
            type='std_msgs/msg/Bool',
            serialization_format='cdr',
            offered_qos_profiles=['reliable'],
        )
    with pytest.raises(RuntimeError, match='negative stamp'):
        writer.write('/chatter', b'', -1)
    with pytest.raises(AttributeError, match='Recorder is not supported'):
        rosbag2_py.Recorder  # noqa: B018


def test_faults_of_reading_get_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match='does not exist'):
        open_reader(tmp_path / 'none')
    with pytest.raises(RuntimeError, match=r'has no metadata.yaml'):
        open_reader(tmp_path)
    write_sample(tmp_path / 'bag', sample_messages(3))
    metadata = tmp_path / 'bag' / 'metadata.yaml'
    whole = metadata.read_text()
    metadata.write_text('rosbag2_bagfile_information: [')
    with pytest.raises(RuntimeError, match='No storage could be initialized'):
        open_reader(tmp_path / 'bag')
    metadata.write_text(whole)
    reader = open_reader(tmp_path / 'bag')
    rest(reader)
    with pytest.raises(RuntimeError, match='Bag is at end'):
        reader.read_next()
    with pytest.raises(RuntimeError, match='forward, only'):
        reader.set_read_order(rosbag2_py.ReadOrder(reverse=True))
    reader.close()
    with pytest.raises(RuntimeError, match='Bag is not open'):
        reader.has_next()
    data = bytearray((tmp_path / 'bag' / 'bag_0.mcap').read_bytes())
    (tmp_path / 'noise.mcap').write_bytes(bytes(data[::-1]))
    with pytest.raises(RuntimeError, match=r'noise.mcap'):
        open_reader(tmp_path / 'noise.mcap')


def kill_writer(script: str, bag: Path) -> None:
    """Run a writer until it says that it is done, then kill it."""
    process = subprocess.Popen(
        [sys.executable, '-c', WRITER + textwrap.dedent(script), str(bag)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == 'done\n'
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_a_killed_writer_leaves_all_but_its_last_chunk(tmp_path: Path) -> None:
    kill_writer(
        """
        open_bag(sys.argv[1])
        for index in range(400):
            write(index)
        print('done', flush=True)
        time.sleep(600)
        """,
        tmp_path / 'bag',
    )
    alone = rest(open_reader(tmp_path / 'bag' / 'bag_0.mcap'))
    assert 400 - 2**20 // 27648 <= len(alone) <= 400
    assert [data for _, data, _ in alone] == [content(index) for index in range(len(alone))]
    with pytest.raises(RuntimeError, match='Reindexer'):
        open_reader(tmp_path / 'bag')
    rosbag2_py.Reindexer().reindex(rosbag2_py.StorageOptions(str(tmp_path / 'bag'), 'mcap'))
    assert names(tmp_path / 'bag') == ['bag_0.mcap', 'metadata.yaml']
    reader = open_reader(tmp_path / 'bag')
    assert rest(reader) == alone
    metadata = reader.get_metadata()
    assert metadata.custom_data == {'session': 'seven'}
    assert metadata.message_count == len(alone)
    with AnyReader([tmp_path / 'bag']) as plain:
        assert plain.message_count == len(alone)


def test_a_message_does_not_wait_for_the_next_one(tmp_path: Path) -> None:
    """The last message before a silence reaches the file while the writer does nothing."""
    writer = open_writer(tmp_path / 'bag')
    create(writer, '/image')
    writer.write('/image', content(0), 1000)
    deadline = time.monotonic() + 30.0
    while not (alone := rest(open_reader(tmp_path / 'bag' / 'bag_0.mcap'))):
        assert time.monotonic() < deadline, 'the message stays in memory'
        time.sleep(0.05)
    assert alone == [('/image', content(0), 1000)]
    writer.write('/image', content(1), 1001)
    writer.close()
    assert [stamp for _, _, stamp in rest(open_reader(tmp_path / 'bag'))] == [1000, 1001]


def test_data_that_changes_afterwards_is_kept_as_it_was(tmp_path: Path) -> None:
    data = bytearray(content(3))
    writer = open_writer(tmp_path / 'bag')
    create(writer, '/image')
    writer.write('/image', data, 1)
    data[:] = bytes(len(data))
    writer.close()
    assert rest(open_reader(tmp_path / 'bag')) == [('/image', content(3), 1)]


def test_writer_options_are_laid_over_the_preset(tmp_path: Path) -> None:
    options = tmp_path / 'options.yaml'
    options.write_text('chunkSize: 50000\ncompressionLevel: Slow\n')
    messages = [('/image', content(index), index) for index in range(300)]
    sizes = {}
    for name, text in {
        'large': 'compressionLevel: Slow',
        'small': 'chunkSize: 50000\ncompressionLevel: Slow\nnoChunkCRC: true',
        'plain': 'chunkSize: 50000\ncompression: None',
    }.items():
        options.write_text(text)
        write_sample(
            tmp_path / name,
            messages,
            storage_preset_profile='zstd_fast',
            storage_config_uri=str(options),
        )
        reader = open_reader(tmp_path / name)
        assert rest(reader) == messages
        # With many chunks a place in the middle is still found by the index.
        reader.seek(217)
        assert rest(reader) == messages[217:]
        with Reader(tmp_path / name / f'{name}_0.mcap') as plain:
            sizes[name] = len(plain.storage.chunks)
    assert sizes['large'] < 15
    assert sizes['small'] == sizes['plain'] >= 150
    data = (tmp_path / 'plain' / 'plain_0.mcap').stat().st_size
    assert data > 300 * 27648 > 5 * (tmp_path / 'small' / 'small_0.mcap').stat().st_size


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [
        ('noChunking: true', 'noChunking: True'),
        ('compression: Lz4', 'compression: Lz4'),
        ('chunkSize: many', 'chunkSize: many'),
        ('[]', 'no YAML mapping'),
        (':', 'no YAML mapping|cannot read'),
    ],
)
def test_other_writer_options_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / 'options.yaml').write_text(text)
    with pytest.raises(RuntimeError, match=sentence):
        open_writer(tmp_path / 'bag', storage_config_uri=str(tmp_path / 'options.yaml'))
    assert not (tmp_path / 'bag').exists()


def test_a_file_cut_anywhere_is_read_up_to_there(tmp_path: Path) -> None:
    messages = [('/image', content(index), index) for index in range(200)]
    write_sample(tmp_path / 'bag', messages, storage_preset_profile='zstd_fast')
    whole = (tmp_path / 'bag' / 'bag_0.mcap').read_bytes()
    counts = []
    for size in np.linspace(100, len(whole) - 1, 23).astype(int):
        cut = tmp_path / 'cut.mcap'
        cut.write_bytes(whole[:size])
        try:
            read = rest(open_reader(cut))
        except RuntimeError as error:
            assert 'cut.mcap' in str(error)
            read = []
        assert read == messages[: len(read)]
        counts.append(len(read))
    assert counts == sorted(counts) and counts[-1] == 200


def test_a_write_error_is_raised_and_what_was_written_stays(tmp_path: Path) -> None:
    script = """
    resource.setrlimit(resource.RLIMIT_FSIZE, (6 * 2**20, 6 * 2**20))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    open_bag(sys.argv[1])
    for index in range(10**6):
        try:
            write(index)
        except RuntimeError as error:
            print(error)
            break
    writer.close()
    try:
        write(0)
    except RuntimeError as error:
        print(error)
    """
    done = subprocess.run(
        [sys.executable, '-c', WRITER + textwrap.dedent(script), str(tmp_path / 'bag')],
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = done.stdout.splitlines()
    assert first.endswith('File too large; it was closed and holds what was written before')
    assert second.startswith('Bag is not open')
    read = rest(open_reader(tmp_path / 'bag'))
    assert len(read) > 100
    assert [data for _, data, _ in read] == [content(index) for index in range(len(read))]
    assert names(tmp_path / 'bag') == ['bag_0.mcap', 'metadata.yaml']


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """On a disk of 12 MiB every message that `write` took is there afterwards."""
    script = """
    open_bag(sys.argv[1] + '/bag')
    for index in range(10**6):
        try:
            write(index)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            break
    reader = rosbag2_py.SequentialReader()
    reader.open_uri(sys.argv[1] + '/bag')
    read = 0
    while reader.has_next():
        assert reader.read_next()[1] == content(read)
        read += 1
    print(index, read)
    try:
        open_bag(sys.argv[1] + '/other')
    except RuntimeError as error:
        print(error, file=sys.stderr)
    """
    (tmp_path / 'writer.py').write_text(WRITER + textwrap.dedent(script))
    disk = tmp_path / 'disk'
    disk.mkdir()
    mounted = f'mount -t tmpfs -o size=12m tmpfs {disk}'
    if subprocess.run(['unshare', '-rm', 'sh', '-c', mounted], check=False).returncode:
        pytest.skip('no mount namespace may be made here')
    done = subprocess.run(
        [
            'unshare',
            '-rm',
            'sh',
            '-c',
            f'{mounted} && exec {sys.executable} {tmp_path}/writer.py {disk}',
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    taken, read = map(int, done.stdout.split())
    assert taken > 200 and read >= taken
    first, second = done.stderr.splitlines()
    assert 'No space left on device; it was closed and holds' in first
    assert second.startswith('Failed to create bag directory')


def test_a_reindexed_split_bag_is_whole(tmp_path: Path) -> None:
    messages = sample_messages(30)
    write_sample(tmp_path / 'bag', messages, max_bagfile_size=200_000, custom_data={'a': 'b'})
    (tmp_path / 'bag' / 'metadata.yaml').unlink()
    last = sorted((tmp_path / 'bag').glob('*.mcap'))[-1]
    last.write_bytes(last.read_bytes()[:-60])
    rosbag2_py.Reindexer().reindex(rosbag2_py.StorageOptions(str(tmp_path / 'bag'), 'mcap'))
    reader = open_reader(tmp_path / 'bag')
    assert rest(reader) == messages
    assert reader.get_metadata().message_count == 90
    with pytest.raises(RuntimeError, match=r'holds no .mcap file'):
        rosbag2_py.Reindexer().reindex(rosbag2_py.StorageOptions(str(tmp_path), 'mcap'))


def test_a_bag_that_is_being_recorded_is_not_reindexed(tmp_path: Path) -> None:
    messages = sample_messages(200)
    writer = open_writer(tmp_path / 'bag')
    for name in TYPES:
        create(writer, name)
    for message in messages[:300]:
        writer.write(*message)
    with pytest.raises(RuntimeError, match='is being recorded') as refused:
        open_reader(tmp_path / 'bag')
    assert 'Reindexer' not in str(refused.value)
    with pytest.raises(RuntimeError, match='is being recorded'):
        rosbag2_py.Reindexer().reindex(rosbag2_py.StorageOptions(str(tmp_path / 'bag'), 'mcap'))
    for message in messages[300:]:
        writer.write(*message)
    writer.close()
    assert rest(open_reader(tmp_path / 'bag')) == messages


def test_sqlite3_bags_are_read(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    data = serialize_message(String(data='from elsewhere'))
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection('/chatter', 'std_msgs/msg/String', typestore=store)
        writer.write(connection, START, data)
    reader = rosbag2_py.SequentialReader()
    reader.open(
        rosbag2_py.StorageOptions(str(tmp_path / 'bag'), 'sqlite3'), rosbag2_py.ConverterOptions()
    )
    assert rest(reader) == [('/chatter', data, START)]
    assert rosbag2_py.get_registered_readers() == {'mcap', 'sqlite3'}
