# SPDX-License-Identifier: Apache-2.0
from setuptools import find_packages, setup

PACKAGE = 'hiwm_core'

setup(
    name=PACKAGE,
    version='0.1.0',
    packages=find_packages(exclude=['test']),
    package_data={'hiwm_core': ['mcap_writer.yaml', 'tasks/*/task.yaml']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
    ],
    install_requires=['setuptools'],
    zip_safe=False,
    maintainer='Hi-WM maintainers',
    maintainer_email='maintainers@hiwm.example.com',
    description='What every part of Hi-WM shares, without ROS: tasks, rollout tree, rig, episodes.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'export_lerobot = hiwm_core.export_lerobot:main',
            'sessions = hiwm_core.sessions:main',
        ],
    },
)
