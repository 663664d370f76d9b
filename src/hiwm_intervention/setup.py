# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'hiwm_intervention'

setup(
    name=PACKAGE,
    version='0.1.0',
    packages=find_packages(exclude=['test']),
    package_data={PACKAGE: ['web/*', 'report/*']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        (f'share/{PACKAGE}/config', sorted(str(file) for file in Path('config').glob('*.yaml'))),
    ],
    install_requires=['setuptools'],
    zip_safe=False,
    maintainer='Hi-WM maintainers',
    maintainer_email='maintainers@hiwm.example.com',
    description='Who drives and what is recorded: action multiplexer, operator console, recorder.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            f'action_mux = {PACKAGE}.programs:action_mux',
            f'console = {PACKAGE}.programs:console',
            f'keyboard = {PACKAGE}.programs:keyboard',
            f'recorder = {PACKAGE}.programs:recorder',
            f'recover = {PACKAGE}.programs:recover',
            f'report = {PACKAGE}.programs:report',
        ]
    },
)
