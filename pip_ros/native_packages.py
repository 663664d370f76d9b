# SPDX-License-Identifier: Apache-2.0
"""Names what a sourced ROS 2 Jazzy lacks, as one command; exits with 1 if something is missing."""

from __future__ import annotations

from importlib.util import find_spec
import sys

# Import name -> the distribution's package.
APT = {
    'rclpy': 'ros-jazzy-rclpy',
    'launch_ros': 'ros-jazzy-launch-ros',
    'ros2cli': 'ros-jazzy-ros2cli',
    'ros2launch': 'ros-jazzy-ros2launch',
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


def main() -> int:
    """Print the command that installs what is missing; 0 if nothing is."""
    apt = [package for name, package in APT.items() if find_spec(name) is None]
    pip = [pin for name, pin in PIP.items() if find_spec(name) is None]
    commands = []
    if apt:
        commands.append(f'sudo apt-get install -y {" ".join(apt)}')
    if pip:
        commands.append(f'python3 -m pip install --user --break-system-packages {" ".join(pip)}')
    print(' && '.join(commands))
    return 1 if commands else 0


if __name__ == '__main__':
    sys.exit(main())
