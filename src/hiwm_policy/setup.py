# SPDX-License-Identifier: Apache-2.0
from setuptools import find_packages, setup

PACKAGE = 'hiwm_policy'

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
    description='Robot policies: networks, training, post-training on corrections, evaluation.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'correct = hiwm_policy.correct_node:main',
            'evaluate = hiwm_policy.evaluate:main',
            'policy = hiwm_policy.programs:policy',
            'post_train = hiwm_policy.post_train:main',
            'report = hiwm_policy.report:main',
            'reproduce = hiwm_policy.reproduce:main',
            'train = hiwm_policy.train:main',
        ],
        'hiwm.policies': [
            'diffusion = hiwm_policy.policy:diffusion',
            'flow = hiwm_policy.policy:flow',
            'lerobot = hiwm_policy.lerobot_policy:lerobot',
        ],
    },
)
