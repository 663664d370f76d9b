# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'hiwm_bringup'
FOLDERS = ('launch', 'config', 'models')


def files_below(top):
    """Every folder below `top` that holds files, with the files, as data_files wants them."""
    for folder in [top, *sorted(path for path in top.rglob('*') if path.is_dir())]:
        files = sorted(str(path) for path in folder.glob('*') if path.is_file())
        if files and folder.name != '__pycache__':
            yield folder, files


setup(
    name=PACKAGE,
    version='0.1.0',
    packages=find_packages(exclude=['test']),
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        *(
            (f'share/{PACKAGE}/{folder}', files)
            for name in FOLDERS
            for folder, files in files_below(Path(name))
        ),
    ],
    install_requires=['setuptools'],
    zip_safe=False,
    maintainer='Hi-WM maintainers',
    maintainer_email='maintainers@hiwm.example.com',
    description='Launch files, configuration and shipped models of Hi-WM.',
    license='Apache-2.0',
    entry_points={'console_scripts': []},
)
