# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'hiwm_robot'

setup(
    name=PACKAGE,
    version='0.1.0',
    packages=find_packages(exclude=['test']),
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        (f'share/{PACKAGE}/config', sorted(map(str, Path('config').iterdir()))),
    ],
    install_requires=['setuptools'],
    zip_safe=False,
    maintainer='Hi-WM maintainers',
    maintainer_email='maintainers@hiwm.example.com',
    description='The arm: simulated (with its task simulators and scripted experts) and physical.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'bus_emulator = hiwm_robot.programs:bus_emulator',
            'calibrate_camera = hiwm_robot.programs:calibrate_camera',
            'calibrate_leader = hiwm_robot.programs:calibrate_leader',
            'camera_adapter = hiwm_robot.programs:camera_adapter',
            'collect = hiwm_robot.collect_node:main',
            'import_lerobot = hiwm_robot.import_lerobot:main',
            'dynamixel_arm = hiwm_robot.programs:dynamixel_arm',
            'leader_arm = hiwm_robot.programs:leader_arm',
            'realsense_camera = hiwm_robot.programs:realsense_camera',
            'scripted_operator = hiwm_robot.programs:scripted_operator',
            'set_up_servo = hiwm_robot.programs:set_up_servo',
            'sim_arm = hiwm_robot.programs:sim_arm',
            'sim_camera = hiwm_robot.programs:sim_camera',
        ],
        'hiwm.backends': ['sim_arm = hiwm_robot.sims:sim_arm'],
    },
)
