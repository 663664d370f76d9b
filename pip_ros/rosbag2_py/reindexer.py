# SPDX-License-Identifier: Apache-2.0
"""`Reindexer`: makes a bag whole again whose writer was killed."""

from __future__ import annotations

from pathlib import Path
import shutil

from rosbags.rosbag2.metadata import dump_qos_v9
import yaml

from rosbag2_py.bag_file import describe_file, open_bag
from rosbag2_py.mcap_file import is_being_written, is_finished
from rosbag2_py.mcap_options import PRESETS
from rosbag2_py.mcap_writer import McapFileWriter
from rosbag2_py.metadata import METADATA_FILE, BagMetadata, MetadataIo, TopicInformation
from rosbag2_py.options import STORAGE_SUFFIXES, StorageOptions
from rosbag2_py.sequential_writer import RESERVE_FILE

WORK_FOLDER = '.reindex'


class Reindexer:
    """Writes metadata.yaml from the files of a bag, and gives each file the index that it lacks."""

    def reindex(self, storage_options: StorageOptions) -> None:
        """Rebuild the bag in the folder `storage_options.uri`; raises RuntimeError.

        What was recorded stays; a file without an end is replaced, in one step, by a complete one.
        """
        storage_options.refuse_unsupported()
        folder = Path(storage_options.uri)
        suffix = STORAGE_SUFFIXES[storage_options.storage_id or 'mcap']
        files = sorted(folder.glob(f'*{suffix}'), key=_file_number)
        if not files:
            raise RuntimeError(f"'{folder}' holds no {suffix} file to reindex")
        try:
            # A recorder would go on into the file that was replaced, and lose all of it.
            if busy := next(filter(is_being_written, files), None):
                raise RuntimeError(f"'{busy}' is being recorded; reindex it when that has ended")
            described = [self._complete(file) for file in files]
            metadata = _combine(described)
            if (folder / METADATA_FILE).is_file():
                metadata.custom_data |= MetadataIo().read_metadata(str(folder)).custom_data
            MetadataIo().write_metadata(str(folder), metadata)
            (folder / RESERVE_FILE).unlink(missing_ok=True)
        except OSError as error:
            raise RuntimeError(f"cannot reindex '{folder}': {error.strerror}") from error

    def _complete(self, path: Path) -> BagMetadata:
        reader = open_bag(str(path))
        try:
            metadata = describe_file(path, reader)
            if path.suffix != STORAGE_SUFFIXES['mcap'] or is_finished(path):
                return metadata
            work = path.parent / WORK_FOLDER
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            try:
                text = MetadataIo().serialize_metadata(metadata)
                whole = McapFileWriter(work / path.name, PRESETS['zstd_fast'], text)
                declared: set[str] = set()
                for item in reader.connections:
                    if item.msgtype not in declared:
                        whole.add_msgtype(item)
                        declared.add(item.msgtype)
                    offered = dump_qos_v9(getattr(item.ext, 'offered_qos_profiles', []))
                    whole.add_connection(
                        item, yaml.dump(offered, sort_keys=False).strip() if offered else ''
                    )
                for connection, stamp, data in reader.messages():
                    whole.write(connection, stamp, data)
                whole.finish(text)
                whole.path.replace(path)
            finally:
                shutil.rmtree(work, ignore_errors=True)
            metadata.bag_size = path.stat().st_size
            return metadata
        finally:
            reader.close()


def _file_number(path: Path) -> tuple[int, str]:
    number = path.stem.rpartition('_')[2]
    return (int(number) if number.isdigit() else 0, path.name)


def _combine(described: list[BagMetadata]) -> BagMetadata:
    topics: dict[str, TopicInformation] = {}
    custom: dict[str, str] = {}
    for metadata in described:
        custom |= metadata.custom_data
        for topic in metadata.topics_with_message_count:
            if known := topics.get(topic.topic_metadata.name):
                known.message_count += topic.message_count
            else:
                topics[topic.topic_metadata.name] = topic
    files = [file for metadata in described for file in metadata.files]
    return BagMetadata.of_files(
        described[0].storage_identifier, files, list(topics.values()), custom
    )
