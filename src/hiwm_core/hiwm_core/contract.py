# SPDX-License-Identifier: Apache-2.0
"""The graph's names: every topic and service with its type and quality of service, in one table.

Nodes make their publishers and subscriptions from these entries (`hiwm_rig.base_node`), the
recorder records exactly these topics, and the conformance test compares a live graph with them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quality:
    """A quality of service, apart from rclpy.

    Attributes:
        reliable: Reliable, else best effort.
        depth: Keep-last depth.
        latched: Transient-local: a late subscriber gets the last `depth` messages.
    """

    reliable: bool = True
    depth: int = 1
    latched: bool = False


STATE = Quality(latched=True)
EVENT = Quality(depth=100, latched=True)
COMMAND = Quality()
# Frames and their states are deep enough for the past that is shown again at once after a rollback.
FRAME = Quality(depth=10)
# How many of the past are, unless the rig is told otherwise. Fewer than the depth: what is shown at
# once must not push out what a busy subscriber has not taken yet.
CONTEXT_FRAMES = 4
FRAME_STATE = Quality(depth=10, latched=True)
DEFAULT = Quality(depth=10)


@dataclass(frozen=True)
class Topic:
    """A topic: its type as 'package/msg/Name' and the quality its publisher offers."""

    name: str
    type: str
    quality: Quality


@dataclass(frozen=True)
class Service:
    """A service: its type as 'package/srv/Name'."""

    name: str
    type: str


@dataclass(frozen=True)
class ActionInterface:
    """An action server: its type as 'package/action/Name'."""

    name: str
    type: str


CAMERA_FRAME_ID = 'camera_color_optical_frame'

# The rig: one of world_model, sim_arm, a physical arm with its camera.
IMAGE = Topic('/camera/camera/color/image_raw', 'sensor_msgs/msg/Image', FRAME)
CAMERA_INFO = Topic('/camera/camera/color/camera_info', 'sensor_msgs/msg/CameraInfo', DEFAULT)
JOINT_STATES = Topic('/joint_states', 'sensor_msgs/msg/JointState', DEFAULT)
RIG_STATE = Topic('/rig/state', 'hiwm_msgs/msg/RigState', FRAME_STATE)
RIG_EXECUTED = Topic('/rig/executed', 'hiwm_msgs/msg/Action', DEFAULT)
RIG_TREE = Topic('/rig/tree', 'hiwm_msgs/msg/TreeEvent', EVENT)

# Commands.
ACTION = Topic('/action', 'hiwm_msgs/msg/Action', COMMAND)
POLICY_ACTION = Topic('/policy/action', 'hiwm_msgs/msg/Action', COMMAND)
OPERATOR_ACTION = Topic('/operator/action', 'hiwm_msgs/msg/Action', COMMAND)
# Where an actuated leader is to go before it may lead: the arm's measured joints.
OPERATOR_TARGET = Topic('/operator/target', 'sensor_msgs/msg/JointState', COMMAND)

# The rest of the session.
MUX_STATE = Topic('/mux/state', 'hiwm_msgs/msg/MuxState', STATE)
RECORDER_STATE = Topic('/recorder/state', 'hiwm_msgs/msg/RecorderState', STATE)
DIAGNOSTICS = Topic('/diagnostics', 'diagnostic_msgs/msg/DiagnosticArray', DEFAULT)

RIG_TOPICS = (IMAGE, CAMERA_INFO, JOINT_STATES, RIG_STATE, RIG_EXECUTED, RIG_TREE)
RECORDED_TOPICS = (
    *RIG_TOPICS,
    ACTION,
    POLICY_ACTION,
    OPERATOR_ACTION,
    OPERATOR_TARGET,
    MUX_STATE,
    DIAGNOSTICS,
)

RESET = Service('/rig/reset', 'hiwm_msgs/srv/Reset')
PAUSE = Service('/rig/pause', 'hiwm_msgs/srv/Pause')
RESUME = Service('/rig/resume', 'hiwm_msgs/srv/Resume')
STEP = Service('/rig/step', 'hiwm_msgs/srv/Step')
SAVE_CHECKPOINT = Service('/rig/save_checkpoint', 'hiwm_msgs/srv/SaveCheckpoint')
ROLLBACK = Service('/rig/rollback', 'hiwm_msgs/srv/Rollback')
BRANCH = Service('/rig/branch', 'hiwm_msgs/srv/Branch')
GET_TREE = Service('/rig/get_tree', 'hiwm_msgs/srv/GetTree')
LABEL = Service('/rig/label', 'hiwm_msgs/srv/Label')
GET_FRAMES = Service('/rig/get_frames', 'hiwm_msgs/srv/GetFrames')
SET_PACE = Service('/rig/set_pace', 'hiwm_msgs/srv/SetPace')
RIG_SERVICES = (
    RESET,
    PAUSE,
    RESUME,
    STEP,
    SAVE_CHECKPOINT,
    ROLLBACK,
    BRANCH,
    GET_TREE,
    LABEL,
    GET_FRAMES,
    SET_PACE,
)

ROLLOUT = ActionInterface('/world_model/rollout', 'hiwm_msgs/action/Rollout')

TAKEOVER = Service('/mux/takeover', 'hiwm_msgs/srv/Takeover')
