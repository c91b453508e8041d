"""Rollouts of a world: the expert's own, which is the success twin, and what a fault makes of it.

A faulted rollout repeats the twin's own actions up to the step of injection, so that both are the same bit by bit until
there. From there on the fault gives every action.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from numpy.typing import NDArray

from bad_robot_behavior.synthesis.faults.fault import Fault
from bad_robot_behavior.synthesis.motions import closed_loop
from bad_robot_behavior.synthesis.trace import Trace
from bad_robot_behavior.synthesis.twin import Twin
from bad_robot_behavior.synthesis.world import World

Watch = Callable[[World], None]
"""Called with the world in the state that a video frame shows."""


def run_expert(world: World, watch: Watch | None = None, every: int = 4) -> Twin:
    """Let the task's expert act until its success has settled or its steps are used up.

    `watch` is called after steps 0, every, 2 * every, ... and after the last one. Whether the twin is a success is
    `twin.trace.success[-1]`: an expert can fail.
    """
    trace = _run(world, closed_loop(world), watch, every)
    return Twin(trace=trace, target=world.targets(), start_tcp=world.start_tcp, start=world.start)


def run_fault(
    world: World, twin: Twin, fault: Fault, parameters: dict[str, Any], watch: Watch | None = None, every: int = 4
) -> Trace:
    """What becomes of the twin's scene with a fault from step `parameters["inject_step"]` on. `watch` as above."""

    def actions() -> Iterator[NDArray[Any]]:
        yield from twin.trace.action[: parameters["inject_step"]]
        yield from fault.act(world, twin, parameters)

    return _run(world, actions(), watch, every)


def run_again(world: World, twin: Twin, watch: Watch | None = None, every: int = 4) -> Trace:
    """The twin's actions once more: the same rollout bit by bit."""
    return _run(world, iter(twin.trace.action), watch, every)


def _run(world: World, actions: Iterator[Any], watch: Watch | None, every: int) -> Trace:
    world.restart()
    shown = True
    for action in actions:
        world.step(action)
        shown = (world.steps - 1) % every == 0
        if watch is not None and shown:
            watch(world)
        if world.steps == world.task.limit:
            break
    if watch is not None and not shown:
        watch(world)
    return world.trace()
