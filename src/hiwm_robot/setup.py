from setuptools import find_packages, setup

PACKAGE = 'hiwm_robot'

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
    description='The arm: simulated (with its task simulators and scripted experts) and physical.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'collect = hiwm_robot.collect_node:main',
            'scripted_operator = hiwm_robot.programs:scripted_operator',
            'sim_arm = hiwm_robot.programs:sim_arm',
        ],
        'hiwm.backends': ['sim_arm = hiwm_robot.sims:sim_arm'],
    },
)
