# SPDX-License-Identifier: Apache-2.0
"""Messages that were put into a bag without a graph are read by others."""

from __future__ import annotations

from pathlib import Path

from hiwm_msgs.msg import RigState
import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from hiwm_core.contract import JOINT_STATES, RIG_STATE
from hiwm_rig.conversion import joint_message, time_message
from hiwm_rig.message_bag import MessageBag

NAMES = (('x', 'y'), ('shoulder', 'elbow', 'wrist'), ('a', 'bcd', 'efghi', 'j'))


def written(folder: Path) -> Path:
    """A bag of joints, whose efforts are not measured, and of one state of the rig."""
    with MessageBag(folder, (JOINT_STATES, RIG_STATE), {'kind': 'session'}) as bag:
        for number, names in enumerate(NAMES):
            stamp = time_message(number)
            bag.put(JOINT_STATES, joint_message(names, np.arange(len(names)), stamp), number)
        bag.put(RIG_STATE, RigState(task='pusht', scene_values=[1.0]), len(NAMES))
    return folder


def test_a_strict_reader_takes_them_as_they_were_put(tmp_path: Path) -> None:
    bag = written(tmp_path / 'bag')
    with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        entries = [(connection.msgtype, bytes(data)) for connection, _, data in reader.messages()]
        assert [kind for kind, _ in entries] == [JOINT_STATES.type] * len(NAMES) + [RIG_STATE.type]
        for (kind, data), names in zip(entries, NAMES, strict=False):
            joints = reader.deserialize(data, kind)
            assert tuple(joints.name) == names
            assert joints.position.tolist() == list(range(len(names)))
            assert joints.effort.size == 0
            # Written anew it is as long: nothing stands after its end.
            assert len(reader.typestore.serialize_cdr(joints, kind)) == len(data)
        state = reader.deserialize(entries[-1][1], RIG_STATE.type)
        assert (state.task, state.scene_values.tolist()) == ('pusht', [1.0])
