# SPDX-License-Identifier: Apache-2.0
"""Making a bag whole again whose recorder was killed.

Torn files are written anew beside themselves and put in place in one step; then comes
`metadata.yaml`. Interrupted at any moment, a recovery leaves a bag that can be recovered. Files
that are whole are not touched, so that only the last one of a split bag is copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import re
from typing import Any

import yaml

from hiwm_core.bag_reader import METADATA_NAME
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.live_mark import LiveMark, is_held, mark_path
from hiwm_core.mcap_file import McapError, McapSummary, is_whole, read_summary, salvage

BAG_NAME = re.compile(r'bag(-\d+)?')
METADATA_VERSION = 9
RESERVE_NAME = '.reserve'
WORK_SUFFIX = '.recovering'
TORN_SUFFIX = '.torn'
RECOVERED = 'recovered'  # in a bag's custom data: its recorder was killed


@dataclass(frozen=True)
class Recovery:
    """What became of a bag.

    Attributes:
        bag: Its folder.
        messages: It holds now.
        cut_bytes: At the ends of its files that were no whole chunk.
        lost_messages: Taken by the recorder and not in the bag, as far as it had noted them; -1
            unknown.
        lost_seconds: From the newest message in the bag to the recorder's last note; NaN unknown.
    """

    bag: Path
    messages: int
    cut_bytes: int
    lost_messages: int
    lost_seconds: float

    @property
    def sentence(self) -> str:
        """For a person."""
        text = f'{self.bag} is whole again: {self.messages} messages'
        if self.lost_messages < 0:
            return f'{text}; {self.cut_bytes} bytes at its end were no whole chunk'
        if not self.lost_messages:
            return f'{text}; nothing that its recorder had noted is lost'
        what = '1 message is' if self.lost_messages == 1 else f'{self.lost_messages} messages are'
        when = f', of its last {self.lost_seconds:.2f} s' if self.messages else ''
        return f'{text}; {what} lost{when}'


def unfinished_bags(path: Path) -> list[Path]:
    """Bags of recordings that did not end: of all sessions in a folder, of one, or the bag itself.

    A bag whose recorder lives is none of them.
    """
    if BAG_NAME.fullmatch(path.name) and path.is_dir():
        candidates = [path]
    else:
        candidates = sorted(
            folder
            for pattern in ('bag', 'bag-*', '*/bag', '*/bag-*')
            for folder in path.glob(pattern)
            if folder.is_dir() and BAG_NAME.fullmatch(folder.name)
        )
    return [each for each in candidates if _is_unfinished(each) and not is_held(each)]


def recover_bag(bag: Path) -> Recovery:
    """Make a bag whole.

    Raises:
        BeingRecordedError: A recorder that lives writes it.
        HiwmError: STORAGE_FAULT, with a sentence: it holds nothing, or a file cannot be read or
            written.
    """
    mark = LiveMark(bag)
    try:
        noted = mark.read()
        files = _files(bag)
        cut = sum(_make_whole(file) for file in files if not is_whole(file))
        summaries = {file: read_summary(file) for file in files if file.is_file()}
        (bag / RESERVE_NAME).unlink(missing_ok=True)
        if not summaries:
            _remove_empty(bag)
            mark.remove()
            raise HiwmError(
                f'{bag} holds nothing: its recorder was killed before it wrote',
                ErrorCode.STORAGE_FAULT,
            )
        _write_metadata(bag, summaries)
        mark.remove()
    except OSError as error:
        raise HiwmError(
            f'{bag} cannot be recovered ({error.strerror}); it is left as it was',
            ErrorCode.STORAGE_FAULT,
        ) from error
    except McapError as error:
        raise HiwmError(f'{bag} cannot be recovered: {error}', ErrorCode.STORAGE_FAULT) from error
    finally:
        mark.release()
    messages = sum(summary.messages for summary in summaries.values())
    if noted is None:
        return Recovery(bag, messages, cut, -1, float('nan'))
    newest = max(summary.last for summary in summaries.values())
    lost = max(0, noted[1] - messages)
    seconds = max(0.0, (noted[0] - newest) / 1e9) if messages else float('nan')
    return Recovery(bag, messages, cut, lost, seconds)


def _is_unfinished(bag: Path) -> bool:
    files = _files(bag)
    if not files:
        return (bag / RESERVE_NAME).exists()
    return mark_path(bag).exists() or not (bag / METADATA_NAME).is_file() or not is_whole(files[-1])


def _files(bag: Path) -> list[Path]:
    """A bag's files in the order of their numbers."""

    def number(file: Path) -> tuple[int, str]:
        digits = file.stem.rpartition('_')[2]
        return (int(digits) if digits.isdigit() else 0, file.name)

    return sorted(bag.glob('*.mcap'), key=number)


def _make_whole(file: Path) -> int:
    """Replace a torn file by a whole one; returns how many bytes were cut off.

    One without a single whole record is put aside under another name.
    """
    work = file.with_name(f'.{file.name}{WORK_SUFFIX}')
    work.unlink(missing_ok=True)
    try:
        summary = salvage(file, work)
        work.replace(file)
    except McapError:
        size = file.stat().st_size
        file.replace(file.with_name(file.name + TORN_SUFFIX))
        return size
    finally:
        work.unlink(missing_ok=True)
    return summary.cut_bytes


def _remove_empty(bag: Path) -> None:
    if not any(bag.iterdir()):
        bag.rmdir()


def _write_metadata(bag: Path, summaries: dict[Path, McapSummary]) -> None:
    """Write metadata.yaml, in rosbag2's version 9, whole or not at all."""
    told: dict[str, Any] = {}
    for summary in summaries.values():
        if summary.bag_metadata:
            told = _mapping(summary.bag_metadata)
    filled = [summary for summary in summaries.values() if summary.messages]
    first = min((summary.first for summary in filled), default=0)
    last = max((summary.last for summary in filled), default=0)
    document = {
        'version': told.get('version', METADATA_VERSION),
        'storage_identifier': 'mcap',
        'duration': {'nanoseconds': last - first},
        'starting_time': {'nanoseconds_since_epoch': first},
        'message_count': sum(summary.messages for summary in filled),
        'topics_with_message_count': _topics(summaries),
        'compression_format': '',
        'compression_mode': '',
        'relative_file_paths': [file.name for file in summaries],
        'files': [
            {
                'path': file.name,
                'starting_time': {'nanoseconds_since_epoch': summary.first},
                'duration': {'nanoseconds': summary.last - summary.first},
                'message_count': summary.messages,
            }
            for file, summary in summaries.items()
        ],
        'custom_data': (told.get('custom_data') or {}) | {RECOVERED: 'true'},
        'ros_distro': told.get('ros_distro') or '',
    }
    partial = bag / f'.{METADATA_NAME}{WORK_SUFFIX}'
    text = yaml.safe_dump({'rosbag2_bagfile_information': document}, sort_keys=False)
    partial.write_text(text, encoding='utf-8')
    partial.replace(bag / METADATA_NAME)


def _topics(summaries: dict[Path, McapSummary]) -> list[dict[str, Any]]:
    topics: dict[str, dict[str, Any]] = {}
    for summary in summaries.values():
        for channel in summary.channels.values():
            topic = topics.setdefault(
                channel.topic,
                {
                    'topic_metadata': {
                        'name': channel.topic,
                        'type': channel.type,
                        'serialization_format': channel.encoding,
                        'offered_qos_profiles': yaml.safe_load(
                            channel.metadata.get('offered_qos_profiles', '')
                        )
                        or [],
                        'type_description_hash': channel.metadata.get('topic_type_hash', ''),
                    },
                    'message_count': 0,
                },
            )
            topic['message_count'] += channel.messages
    return list(topics.values())


def _mapping(text: str) -> dict[str, Any]:
    """The bag's metadata that its writer had stored in a file; empty if it cannot be read."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    if not isinstance(document, dict):
        return {}
    inner = document.get('rosbag2_bagfile_information', document)
    return inner if isinstance(inner, dict) else {}
