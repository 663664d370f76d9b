# SPDX-License-Identifier: Apache-2.0
from setuptools import find_packages, setup

PACKAGE = 'hiwm_rig'

setup(
    name=PACKAGE,
    version='0.1.0',
    packages=find_packages(exclude=['test']),
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
    ],
    install_requires=['setuptools'],
    zip_safe=False,
    maintainer='Hi-WM maintainers',
    maintainer_email='maintainers@hiwm.example.com',
    description='The rig contract as a node: frames, services, epochs and pace around any backend.',
    license='Apache-2.0',
    entry_points={'console_scripts': []},
)
