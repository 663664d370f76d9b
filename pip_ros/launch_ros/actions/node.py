# SPDX-License-Identifier: Apache-2.0
"""Running of a ROS node.

The command is `EXECUTABLE [arguments] [--ros-args ros_arguments] --ros-args ...` with the node's
name, namespace, parameters and remappings in that order, as upstream writes it.
"""

from __future__ import annotations

from collections.abc import Iterable
import itertools
from pathlib import Path
from typing import Any

from launch.actions import ExecuteProcess
from launch.launch_context import LaunchContext
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.logging import get_logger, launch_config
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.utilities import normalize_to_list_of_substitutions

from ..names import absolute_namespace, check_node_name, prefix_namespace
from ..parameters import evaluate_parameters
from ..substitutions import ExecutableInPackage

_files = itertools.count(1)


class Node(ExecuteProcess):
    """Runs an executable of a package, or a program if no package is given, as a ROS node."""

    UNSPECIFIED_NODE_NAME = '<node_name_unspecified>'
    UNSPECIFIED_NODE_NAMESPACE = '<node_namespace_unspecified>'

    def __init__(
        self,
        *,
        executable: SomeSubstitutionsType,
        package: SomeSubstitutionsType | None = None,
        name: SomeSubstitutionsType | None = None,
        namespace: SomeSubstitutionsType | None = None,
        exec_name: SomeSubstitutionsType | None = None,
        parameters: list[Any] | None = None,
        remappings: Iterable[tuple[SomeSubstitutionsType, SomeSubstitutionsType]] | None = None,
        ros_arguments: Iterable[SomeSubstitutionsType] | None = None,
        arguments: Iterable[SomeSubstitutionsType] | None = None,
        **kwargs: Any,
    ) -> None:
        program = executable if package is None else ExecutableInPackage(executable, package)
        cmd: list[SomeSubstitutionsType] = [program, *(arguments or ())]
        if ros_arguments is not None:
            cmd += ['--ros-args', *ros_arguments]
        super().__init__(cmd=cmd, name=exec_name, **kwargs)
        if parameters is not None and not isinstance(parameters, (list, tuple)):
            given = type(parameters).__name__
            raise TypeError(f'parameters must be a list of files and dictionaries, got {given}')
        self._node_name_parts = name
        self._namespace_parts = namespace
        self._parameters = parameters or ()
        self._remappings = list(remappings or ())
        self._node_name: str | None = None

    @property
    def node_name(self) -> str:
        """The fully qualified name, with placeholders for what is not given."""
        if self._node_name is None:
            raise RuntimeError("cannot access 'node_name' before executing action")
        return self._node_name

    def is_node_name_fully_specified(self) -> bool:
        """Say whether both name and namespace are known to the launch."""
        unspecified = (self.UNSPECIFIED_NODE_NAME, self.UNSPECIFIED_NODE_NAMESPACE)
        return not any(placeholder in self.node_name for placeholder in unspecified)

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity] | None:
        if self._node_name is None:
            extra = ['--ros-args', *self._name_arguments(context)]
            extra += [*self._parameter_arguments(context), *self._remapping_arguments(context)]
            self.cmd += [normalize_to_list_of_substitutions(argument) for argument in extra]
        return super().execute(context)

    def _name_arguments(self, context: LaunchContext) -> list[str]:
        arguments = []
        name = self.UNSPECIFIED_NODE_NAME
        if self._node_name_parts is not None:
            name = check_node_name(_perform(context, self._node_name_parts))
            arguments += ['-r', f'__node:={name}']
        given = None
        if self._namespace_parts is not None:
            given = _perform(context, self._namespace_parts)
        base = context.launch_configurations.get('ros_namespace')
        namespace = prefix_namespace(base, given)
        if namespace is None:
            namespace = self.UNSPECIFIED_NODE_NAMESPACE
        else:
            namespace = absolute_namespace(namespace)
            arguments += ['-r', f'__ns:={namespace}']
        self._node_name = f'{namespace.rstrip("/")}/{name}'
        return arguments

    def _parameter_arguments(self, context: LaunchContext) -> list[str]:
        arguments = []
        for name, value in context.launch_configurations.get('global_params', []):
            arguments += ['-p', f'{name}:={_flow_yaml(value)}']
        for parameters in evaluate_parameters(context, self._parameters):
            if isinstance(parameters, Path) and not parameters.is_file():
                get_logger().warning(f'Parameter file path is not a file: {parameters}')
            elif isinstance(parameters, Path):
                arguments += ['--params-file', str(parameters)]
            elif parameters:
                arguments += ['--params-file', self._write_parameters(parameters)]
        return arguments

    def _remapping_arguments(self, context: LaunchContext) -> list[str]:
        rules = list(context.launch_configurations.get('ros_remaps', []))
        rules += [(_perform(context, src), _perform(context, dst)) for src, dst in self._remappings]
        return [part for src, dst in rules for part in ('-r', f'{src}:={dst}')]

    def _write_parameters(self, parameters: dict[str, Any]) -> str:
        """Write a parameter file into the launch's log folder, where it can be looked at later."""
        import yaml  # noqa: PLC0415  (a launch without parameters starts faster without it)

        key = self.node_name if self.is_node_name_fully_specified() else '/**'
        path = Path(launch_config.log_dir) / f'launch_params_{next(_files)}.yaml'
        path.write_text(yaml.safe_dump({key: {'ros__parameters': parameters}}), encoding='utf-8')
        return str(path)


def _perform(context: LaunchContext, value: SomeSubstitutionsType) -> str:
    return normalize_to_list_of_substitutions(value).perform(context)


def _flow_yaml(value: Any) -> str:
    import yaml  # noqa: PLC0415

    text = str(yaml.safe_dump(value, default_flow_style=True, width=float('inf')))
    return text.removesuffix('\n').removesuffix('\n...')
