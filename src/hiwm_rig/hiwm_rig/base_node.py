# SPDX-License-Identifier: Apache-2.0
"""What every node of the workspace shares: named qualities, parameters as data, one `main`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
import faulthandler
from importlib import import_module
import math
from pathlib import Path
import signal
import sys
import time
import traceback
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
import rclpy
from rclpy.client import Client
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.exceptions import InvalidHandle, InvalidParameterTypeException, NotInitializedException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.service import Service as ServiceServer
from rclpy.subscription import Subscription

from hiwm_core.contract import IMAGE, Quality, Service, Topic
from hiwm_core.error import ConfigurationError, ErrorCode, HiwmError
from hiwm_core.parameter import Parameter

# What rclpy raises where the context was shut down under a call in progress.
SHUTDOWN_ERRORS = (InvalidHandle, rclpy_implementation.RCLError, NotInitializedException)

# Exit codes: what a person has to change before a node can start, and what broke while it ran (the
# EX_SOFTWARE of sysexits). Python itself ends with 1 for either.
REFUSED, FAILED = 1, 70

PATIENCE = 1.0  # s that a shutdown may take before a second interrupt ends the node at once


def profile_of(quality: Quality) -> QoSProfile:
    """The rclpy profile of a named quality."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=quality.depth,
        reliability=ReliabilityPolicy.RELIABLE
        if quality.reliable
        else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL
        if quality.latched
        else DurabilityPolicy.VOLATILE,
    )


def interface(name: str) -> Any:
    """The class of 'package/msg/Name' or 'package/srv/Name'."""
    package, kind, cls = name.split('/')
    return getattr(import_module(f'{package}.{kind}'), cls)


def publisher(node: Node, topic: Topic) -> Publisher:
    """A publisher that offers the topic's quality.

    A subscriber that asks for more is told so in its own process. Telling it here too would make
    two more things of every publisher that the executor looks after in each of its turns.
    """
    return node.create_publisher(
        interface(topic.type),
        topic.name,
        profile_of(topic.quality),
        event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
    )


def subscription(
    node: Node, topic: Topic, callback: Callable[[Any], None], *, raw: bool = False
) -> Subscription:
    """A subscription that every publisher of the topic satisfies.

    Frames are asked for best effort, so that a driver with sensor-data quality serves as well.
    """
    quality = topic.quality
    if topic.type == IMAGE.type and not raw:
        quality = Quality(reliable=False, depth=quality.depth)
    return node.create_subscription(
        interface(topic.type), topic.name, callback, profile_of(quality), raw=raw
    )


def client(node: Node, service: Service) -> Client:
    """A client of the service."""
    return node.create_client(interface(service.type), service.name)


def serve(node: Node, service: Service, handle: Callable[[Any, Any], None]) -> ServiceServer:
    """Serve `handle(request, response)`, which fills the response in or raises HiwmError.

    `success`, `error_code` and `message` are filled in here; nothing is raised out of the callback.
    """

    def answer(request: Any, response: Any) -> Any:
        try:
            handle(request, response)
        except HiwmError as error:
            fill_failure(response, error)
        except Exception as error:
            node.get_logger().error(f'{service.name} failed: {error!r}')
            fill_failure(
                response, HiwmError(f'{service.name} failed: {error}', ErrorCode.INTERNAL_FAULT)
            )
        else:
            response.success = True
            response.error_code = int(ErrorCode.NONE)
            response.message = ''
        return response

    return node.create_service(interface(service.type), service.name, answer)


def fill_failure(response: Any, error: HiwmError) -> None:
    """The three last fields of a response, for a refusal."""
    response.success = False
    response.error_code = int(error.code)
    response.message = error.message


def declare(node: Node, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Declare a node's parameters, all read-only after the start; returns their values.

    Raises:
        ConfigurationError: A value has the wrong type or lies outside its range.
    """
    values: dict[str, Any] = {}
    for name, parameter in parameters.items():
        descriptor = _descriptor(parameter)
        try:
            # The range follows in a second step, so that the sentence about it is ours.
            declared = node.declare_parameter(
                name, parameter.default, ParameterDescriptor(description=parameter.description)
            )
        except InvalidParameterTypeException as error:
            raise ConfigurationError(
                f"parameter '{name}' of {node.get_name()} must be {_kind(parameter.default)}: "
                f'{error}'
            ) from error
        parameter.check(name, declared.value)
        descriptor.type = declared.type_.value
        node.set_descriptor(name, descriptor)
        values[name] = declared.value
    return values


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=parameter.description, read_only=True)
    if parameter.choices:
        descriptor.additional_constraints = f'one of: {", ".join(parameter.choices)}'
    if parameter.low is None and parameter.high is None:
        return descriptor
    low, high = parameter.low, parameter.high
    if isinstance(parameter.default, float):
        descriptor.floating_point_range = [
            FloatingPointRange(
                from_value=-sys.float_info.max if low is None else float(low),
                to_value=sys.float_info.max if high is None else float(high),
            )
        ]
    else:
        descriptor.integer_range = [
            IntegerRange(
                from_value=-(2**63) if low is None else int(low),
                to_value=2**63 - 1 if high is None else int(high),
            )
        ]
    return descriptor


def _kind(default: Any) -> str:
    kinds = {
        bool: 'true or false',
        int: 'a whole number',
        float: 'a number with a decimal point',
        str: 'text',
    }
    return kinds.get(type(default), f'a {type(default).__name__}')


class DeviceNode(LifecycleNode):
    """A lifecycle node that holds a device or weights, and by default starts by itself.

    Subclasses give `configure()`, `activate()`, `deactivate()` and `cleanup()`; a HiwmError raised
    there fails the transition with its sentence in the log. With `autostart` a failure ends the
    process.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.failure = ''
        self._autostart = declare(
            self,
            {'autostart': Parameter(True, 'configure and activate at once, without a manager')},
        )['autostart']

    def configure(self) -> None:
        """Check all configuration, then acquire."""

    def activate(self) -> None:
        """Begin to act."""

    def deactivate(self) -> None:
        """Stop acting."""

    def cleanup(self) -> None:
        """Let go of what `configure` acquired."""

    def start(self) -> None:
        """With `autostart`: configure and activate. Raises ConfigurationError if that fails."""
        if not self._autostart:
            return
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != TransitionCallbackReturn.SUCCESS:
                raise ConfigurationError(self.failure or f'{self.get_name()} could not start')

    def _transition(self, act: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            act()
        except HiwmError as error:
            self.failure = error.message
        except Exception as error:
            # rclpy would swallow it without a word.
            self.failure = f'{self.get_name()} could not {act.__name__}: {error!r}'
        else:
            return TransitionCallbackReturn.SUCCESS
        self.get_logger().error(self.failure)
        return TransitionCallbackReturn.FAILURE

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = self._transition(self.configure)
        super().on_configure(state)
        return result

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        super().on_activate(state)
        return self._transition(self.activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        super().on_deactivate(state)
        return self._transition(self.deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        super().on_cleanup(state)
        return self._transition(self.cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        super().on_shutdown(state)
        result = TransitionCallbackReturn.SUCCESS
        if state.label == 'active':
            result = self._transition(self.deactivate)
        if state.label in {'active', 'inactive'}:
            result = self._transition(self.cleanup)
        return result


def run_node(make: Callable[[], Node]) -> int:
    """Initialise, make the node, start it if it starts by itself, spin until told to stop.

    Returns:
        0 after a shutdown or an interrupt; REFUSED after a HiwmError at the start, whose sentence
        goes to stderr; FAILED after any error once it spins. A node that sets `exit_code` (after a
        fault that it reported itself) decides otherwise.
    """
    interrupts = _Interrupts()
    # A node that hangs tells where: `kill -USR1` has it print where each of its threads stands.
    faulthandler.register(signal.SIGUSR1)
    try:
        rclpy.init()
    except RuntimeError as error:
        reason = str(error).split(', at /', maxsplit=1)[0]
        _say(f'the ROS arguments cannot be used: {reason}')
        return REFUSED
    node: Node | None = None
    try:
        # Before the node says that it is there: interrupted half made, an executor complains.
        executor = SingleThreadedExecutor()
        node = make()
        if isinstance(node, DeviceNode):
            node.start()
        executor.add_node(node)
        interrupts.spinning = True
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except HiwmError as error:
        # An interrupt while the node starts makes the start fail; that is no fault.
        if rclpy.ok():
            _say(error.message)
            return FAILED if interrupts.spinning else REFUSED
    except Exception as error:
        if rclpy.ok() or not isinstance(error, SHUTDOWN_ERRORS):
            if not interrupts.spinning:
                raise
            traceback.print_exc()
            return FAILED
    finally:
        if node is not None:
            node.destroy_node()
        _shut_down()
    return int(getattr(node, 'exit_code', 0))


class _Interrupts:
    """What Ctrl-C does beside rclpy's own answer to it, which is to shut the context down.

    While the node is made it ends that by KeyboardInterrupt. While it spins the shutdown is enough:
    an exception between any two instructions would meet rclpy where it cannot pass it on, in the
    conversion of a message or in the making of a task. Asked again a second later, it is raised.

    Made before `rclpy.init`, which calls on what was there before.
    """

    def __init__(self) -> None:
        self.spinning = False
        self._first = math.inf
        signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, number: int, frame: object) -> None:
        now = time.monotonic()
        self._first = min(self._first, now)
        if not self.spinning or now > self._first + PATIENCE:
            raise KeyboardInterrupt


def _shut_down() -> None:
    """Shut the context down, unless rclpy's own thread does so for a signal at this moment."""
    with suppress(*SHUTDOWN_ERRORS):
        rclpy.try_shutdown()


def _say(sentence: str) -> None:
    program = Path(sys.argv[0]).name
    print(f'{program}: {sentence}', file=sys.stderr)
