"""One scene: the expert's rollout, the same with each fault, all told from physics and written as a session."""

from __future__ import annotations

import ctypes
import errno
import functools
import gc
import hashlib
import itertools
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from bad_robot_behavior.errors import MediaError
from bad_robot_behavior.schema import ROLES, Choice, Role
from bad_robot_behavior.schema.synthetic_file import Dropped, Episode, Pair, Scene
from bad_robot_behavior.synthesis.faults import find_fault
from bad_robot_behavior.synthesis.feedback import Nouns, pair_feedback, scene_feedback
from bad_robot_behavior.synthesis.replay import run_expert, run_fault
from bad_robot_behavior.synthesis.tasks import find_task
from bad_robot_behavior.synthesis.trace import Trace
from bad_robot_behavior.synthesis.truth import Truth, tell, why_not_clean
from bad_robot_behavior.synthesis.twin import Twin
from bad_robot_behavior.synthesis.world import CONTROL_HZ, World
from bad_robot_behavior.synthesis.writing import Clock, filming, studio, write_json, write_steps

TWIN = "success"
TIE_BAND = 0.05
"""Scores that differ by no more are a tie: five points of a hundred, between which a person sees no difference."""
LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
EVALUATORS = (
    "Amara Lindqvist",
    "Bastien Okoye",
    "Chiara Novotny",
    "Dmitri Halloran",
    "Esra Vandermeer",
    "Farid Castellano",
    "Greta Nakamura",
    "Hamish Oyelaran",
)
"""Invented people. They are private data on purpose: a release shows pseudonyms in their place."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a set is made with: all that decides its bytes."""

    tasks: tuple[str, ...]
    faults: tuple[str, ...]
    seeds: tuple[int, int]
    """From the first up to and without the second."""
    number: int | None = None
    per_scene: int | None = None
    """How many of the faults are tried in each scene, drawn by its seed; None: all."""
    cameras: tuple[Role, ...] = ROLES
    width: int = 224
    height: int = 224
    steps_per_frame: int = 4
    fps: float | None = None
    """Frames per second of file time; None: as many as of real time."""

    @property
    def file_fps(self) -> float:
        return self.fps or CONTROL_HZ / self.steps_per_frame

    def as_json(self) -> dict[str, Any]:
        """As they are read back from a file, with lists for tuples."""
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return found


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One scene to make. Sent to a worker, so it holds no open things."""

    task: str
    seed: int
    settings: Settings
    folder: str
    """Where the scene's files go: a new folder."""

    @property
    def name(self) -> str:
        return f"{self.task}-{self.seed}"

    def __str__(self) -> str:
        return self.name


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a plan. Where the expert failed there is no scene and `rollouts` is 0."""

    rollouts: int
    faulted: int
    dropped: tuple[Dropped, ...]
    clock: Clock
    seconds: float
    peak_mb: float
    """Peak resident memory of the process that made it, so far."""
    worker: int
    """Its process id."""
    renderer: str


class _Take(msgspec.Struct, frozen=True):
    """A rollout that was simulated and filmed."""

    name: str
    fault: str | None
    parameters: dict[str, Any]
    trace: Trace
    truth: Truth


def make_scene(plan: Plan) -> Made:
    """Simulate, film and label one scene, and write it into the plan's folder, which must not be there yet.

    Raises SynthesisError for names that are unknown, RendererError where nothing can be drawn, and OSError where the
    disk is full.
    """
    try:
        return _make(plan)
    except MediaError as error:
        if getattr(error.__cause__, "errno", None) == errno.ENOSPC:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), plan.folder) from error
        raise
    finally:
        _give_back()


def _make(plan: Plan) -> Made:
    began = time.perf_counter()
    settings, clock = plan.settings, Clock()
    task, folder = find_task(plan.task), Path(plan.folder)
    world = World(task, plan.seed)  # which simulates the expert once to see where other objects may stand
    clock.physics = time.perf_counter() - began
    instruction, forbidden = instruct(world)
    pictures = studio(settings.width, settings.height)
    takes: list[_Take] = []
    dropped: list[Dropped] = []

    def drop(fault: str | None, code: _Code, detail: str) -> None:
        dropped.append(Dropped(task=plan.task, seed=plan.seed, fault=fault, code=code, detail=detail))

    def film(name: str, simulate: Callable[[Any], Any]) -> Any:
        place = folder / name
        place.mkdir(parents=True)
        start, drawn = time.perf_counter(), clock.rendering + clock.encoding
        with filming(place, pictures, settings.cameras, settings.file_fps, clock) as watch:
            simulated = simulate(watch)
        clock.physics += time.perf_counter() - start - (clock.rendering + clock.encoding - drawn)
        return simulated

    def judge(trace: Trace, twin: Trace, inject_step: int | None) -> Truth:
        seconds_per_step = 1 / (settings.file_fps * settings.steps_per_frame)
        return tell(trace, twin, inject_step, seconds_per_step=seconds_per_step, forbidden=forbidden)

    every = settings.steps_per_frame
    twin: Twin = film(TWIN, lambda watch: run_expert(world, watch, every))
    unclean = why_not_clean(twin.trace)
    if unclean is not None:
        drop(None, "twin_not_clean" if twin.trace.success[-1] else "expert_failed", unclean)
    else:
        takes.append(_Take(TWIN, None, {}, twin.trace, judge(twin.trace, twin.trace, None)))
        for slug in _faults(plan):
            fault = find_fault(slug)
            why_not = fault.applies(task)
            drawn = None if why_not else fault.draw(np.random.default_rng(_seeds(plan, slug)), twin)
            if drawn is None:
                drop(slug, "fault_does_not_apply", why_not or "the twin has no moment for it")
                continue
            trace = film(slug, functools.partial(_run, world, twin, fault, drawn, every))
            truth = judge(trace, twin.trace, drawn["inject_step"])
            if not truth.effective:
                drop(slug, "fault_without_effect", "the rollout is that of its twin, as far as can be measured")
                _remove(folder / slug)
                continue
            takes.append(_Take(slug, slug, drawn, trace, truth))
        _write(plan, folder, takes, instruction)
    return Made(
        rollouts=len(takes),
        faulted=max(len(takes) - 1, 0),
        dropped=tuple(dropped),
        clock=clock,
        seconds=time.perf_counter() - began,
        peak_mb=_peak_mb(),
        worker=os.getpid(),
        renderer=_renderer_name(),
    )


_Code = Literal["expert_failed", "twin_not_clean", "fault_without_effect", "fault_does_not_apply"]


def _run(world: World, twin: Twin, fault: Any, drawn: dict[str, Any], every: int, watch: Any) -> Trace:
    return run_fault(world, twin, fault, drawn, watch, every)


def _faults(plan: Plan) -> tuple[str, ...]:
    """The faults that are tried in this scene, in the order of the settings."""
    chosen, count = plan.settings.faults, plan.settings.per_scene
    if count is None or count >= len(chosen):
        return chosen
    task = find_task(plan.task)
    fitting = [slug for slug in chosen if find_fault(slug).applies(task) is None]
    draw = random.Random(f"faults/{plan.name}")
    taken = set(draw.sample(fitting, min(count, len(fitting))))
    return tuple(slug for slug in chosen if slug in taken)


def _seeds(plan: Plan, slug: str) -> list[int]:
    digest = hashlib.sha256(f"{plan.task}/{slug}".encode()).digest()
    return [plan.seed, int.from_bytes(digest[:4], "big")]


def instruct(world: World) -> tuple[str, tuple[str, ...]]:
    """The instruction of a scene, and what it forbids to touch: a third of those with other objects forbid the cup."""
    text = world.task.instruction(world.seed)
    draw = random.Random(f"instruction/{world.task.name}/{world.seed}")
    cup = world.distractors.get("cup")
    if cup is None or draw.random() > 1 / 3:
        return text, ()
    return f"{text} without touching the {cup}", (cup,)


def _write(plan: Plan, folder: Path, takes: Sequence[_Take], instruction: str) -> None:
    draw = random.Random(f"labels/{plan.name}")
    labels = draw.sample(LABELS[: len(takes)], len(takes))
    settings, task = plan.settings, find_task(plan.task)
    episodes = [_episode(take, label, settings) for take, label in zip(takes, labels, strict=True)]
    episodes.sort(key=lambda episode: episode.label)  # so that the file does not begin with the success
    for take in takes:
        write_steps(folder / take.name / "steps.npz", take.trace, take.truth)
    nouns = Nouns(task.object, task.goal)
    scene = Scene(
        scene=plan.name,
        task=plan.task,
        seed=plan.seed,
        instruction=instruction,
        task_category=task.category,
        evaluator=draw.choice(EVALUATORS),
        feedback=scene_feedback(episodes, nouns, plan.name),
        control_hz=CONTROL_HZ,
        steps_per_frame=settings.steps_per_frame,
        fps=settings.file_fps,
        episodes=tuple(episodes),
        pairs=_pairs(episodes, nouns, plan.name),
    )
    write_json(folder / "scene.json", scene)


def _episode(take: _Take, label: str, settings: Settings) -> Episode:
    truth = take.truth
    return Episode(
        name=take.name,
        label=label,
        fault=take.fault,
        parameters=take.parameters,
        twin=None if take.fault is None else TWIN,
        num_steps=take.trace.steps,
        inject_step=truth.inject_step,
        onset_step=truth.onset_step,
        failure_step=truth.failure_step,
        success=truth.success,
        outcome=truth.outcome,
        score=truth.score,
        failures=truth.failures,
        events=truth.events,
        cameras=settings.cameras,
    )


def _pairs(episodes: Sequence[Episode], nouns: Nouns, seed: str) -> tuple[Pair, ...]:
    """Each episode beside the next one, and the success beside each: enough to order them, not all combinations."""
    chosen = list(itertools.pairwise(episodes))
    twin = next(episode for episode in episodes if episode.name == TWIN)
    chosen += [(a, b) for a, b in itertools.combinations(episodes, 2) if twin in (a, b) and (a, b) not in chosen]
    return tuple(
        Pair(a=a.name, b=b.name, preference=choice, feedback=pair_feedback(a, b, choice, nouns, seed))
        for a, b in chosen
        for choice in [preferred(a, b)]
    )


def preferred(a: Episode, b: Episode) -> Choice:
    """Which of two an evaluator would take: the one with the higher score, a tie within TIE_BAND."""
    difference = (a.score or 0.0) - (b.score or 0.0)
    if abs(difference) <= TIE_BAND + 1e-9:
        return "tie"
    return "a" if difference > 0 else "b"


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def _give_back() -> None:
    """What a scene took of memory: else a worker grows by what lies between the pieces that are still in use."""
    gc.collect()  # a world and its simulator refer to each other, and hold 20 MB outside of Python's sight
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


def _peak_mb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@functools.cache
def _renderer_name() -> str:
    """Which library and driver draw in this process, such as `egl: llvmpipe (LLVM 15.0.6, 256 bits)`."""
    from OpenGL import GL

    library = os.environ.get("MUJOCO_GL", "")
    name = GL.glGetString(GL.GL_RENDERER)
    return f"{library}: {name.decode() if isinstance(name, bytes) else name}"
