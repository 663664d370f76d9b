# SPDX-License-Identifier: Apache-2.0
from setuptools import find_packages, setup

PACKAGE = 'hiwm_world_model'

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
    description='The learned world model: network, training, evaluation, and its rig node.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'evaluate = hiwm_world_model.evaluate:command',
            'train = hiwm_world_model.train:command',
            'world_model = hiwm_world_model.programs:world_model',
        ],
        'hiwm.backends': ['world_model = hiwm_world_model.backend:make_backend'],
    },
)
