# SPDX-License-Identifier: Apache-2.0
"""Names what a sourced ROS 2 Jazzy lacks, as one command; exits with 1 if something is missing.

With `--pins` it lists instead, one a line, the wheels that a running session needs beside the
distribution's own packages.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
import platform
import sys

# Import name -> the distribution's package.
APT = {
    'rclpy': 'ros-jazzy-rclpy',
    'launch_ros': 'ros-jazzy-launch-ros',
    'ros2cli': 'ros-jazzy-ros2cli',
    'ros2launch': 'ros-jazzy-ros2launch',
    'ros2bag': 'ros-jazzy-ros2bag',
    'pip': 'python3-pip',
    'rosbag2_py': 'ros-jazzy-rosbag2-py ros-jazzy-rosbag2-storage-mcap',
    'cv_bridge': 'ros-jazzy-cv-bridge',
    'colcon_core': 'python3-colcon-common-extensions',
    'numpy': 'python3-numpy',
    'cv2': 'python3-opencv',
    'yaml': 'python3-yaml',
    'aiohttp': 'python3-aiohttp',
    'shapely': 'python3-shapely',
    'matplotlib': 'python3-matplotlib',
    'tqdm': 'python3-tqdm',
    'dynamixel_sdk': 'ros-jazzy-dynamixel-sdk',
    'serial': 'python3-serial',
    'pytest': 'python3-pytest',
}
# What the distribution's packages, which stay beside the wheels, can bear.
CONSTRAINTS = Path(__file__).parents[1] / 'docker' / 'constraints.txt'
# Import name -> the pin, for what the distribution does not carry.
PIP = {
    'torch': 'torch==2.13.0',
    'safetensors': 'safetensors==0.8.0',
    'diffusers': 'diffusers==0.42.1',
    'rosbags': 'rosbags==0.11.9',
    'gym_pusht': 'gym-pusht==0.1.8',
    'pymunk': 'pymunk==6.11.1',
    'mujoco': 'mujoco==4.0.0',
    'tensorboard': 'tensorboard==2.21.0',
    'pytest_timeout': 'pytest-timeout==2.4.0',
    'playwright': 'playwright==1.65.2',
    'ruff': 'ruff==0.17.5',
    'mypy': 'mypy==2.4.1',
}
# The vendor's wheels are for this machine alone.
if platform.machine() == 'x86_64':
    PIP['pyrealsense2'] = 'pyrealsense2==2.59.1.11053'
# Of these, what only checks and tests need. A native session uses realsense2_camera.
TESTING = {'pytest_timeout', 'playwright', 'ruff', 'mypy', 'pyrealsense2'}


def main() -> int:
    """Print the command that installs what is missing; 0 if nothing is."""
    if sys.argv[1:] == ['--pins']:
        print(*(pin for name, pin in PIP.items() if name not in TESTING), sep='\n')
        return 0
    if sys.argv[1:]:
        print(f'native_packages.py: {sys.argv[1]} is not known; there is --pins', file=sys.stderr)
        return 2
    apt = [package for name, package in APT.items() if find_spec(name) is None]
    pip = [pin for name, pin in PIP.items() if find_spec(name) is None]
    commands = []
    if apt:
        commands.append(f'sudo apt-get install -y {" ".join(apt)}')
    if pip:
        commands.append(
            'python3 -m pip install --user --break-system-packages '
            f'--constraint {CONSTRAINTS} {" ".join(pip)}'
        )
    print(' && '.join(commands))
    return 1 if commands else 0


if __name__ == '__main__':
    sys.exit(main())
