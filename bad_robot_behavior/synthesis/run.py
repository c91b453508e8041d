"""A synthetic set, scene by scene: planned, made by workers, resumable, and the same bytes however it was interrupted.

While a set is being made, `<set>/.progress` holds a mark for each scene that is done and the scenes under way. Once all
are done come dropped.jsonl and synthetic.json, and `.progress` goes. A folder with a synthetic.json is a whole set.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from tqdm import tqdm

from bad_robot_behavior import __version__
from bad_robot_behavior.engine import run_local
from bad_robot_behavior.errors import BadRobotError, MissingExtraError
from bad_robot_behavior.schema.synthetic_file import FORMAT, Dropped, Scene, SyntheticSet
from bad_robot_behavior.synthesis.faults import find_fault
from bad_robot_behavior.synthesis.renderer import choose, chosen_library
from bad_robot_behavior.synthesis.scene import LABELS, TIE_BAND, Made, Plan, Settings, make_scene
from bad_robot_behavior.synthesis.tasks import SynthesisError, find_task
from bad_robot_behavior.synthesis.writing import Clock, write_json

SET_FILE, DROPPED_FILE, PROGRESS = "synthetic.json", "dropped.jsonl", ".progress"
ROBOT = "Sawyer (Meta-World)"
LICENSE, ATTRIBUTION = "Apache-2.0", "the bad-robot-behavior authors; rendered with Meta-World and MuJoCo"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a set. What it cost (`clock` and below) is known only while it is put together."""

    path: str
    scenes: int
    rollouts: int
    outcomes: dict[str, int]
    by_fault: dict[str, dict[str, int]]
    """Outcomes of the rollouts with each fault; `success` stands for the twins."""
    dropped: dict[str, int]
    """How many were tried and are not in the set, by code."""
    clock: Clock | None = None
    seconds: float | None = None
    """Of all scenes, added up over workers."""
    peak_mb_by_tenth: list[float] | None = None
    """Largest resident memory of any worker up to each tenth of the scenes: flat where nothing is kept."""


def synthesize(out: Path, settings: Settings, workers: int = 1) -> Report:
    """Make the set that the settings describe, or go on where an earlier run of the same settings was stopped.

    Raises SynthesisError for unknown names and for a folder that holds something else, RendererError where nothing can
    be drawn, EngineError where a scene keeps killing its worker, OSError for a full disk.
    """
    check(settings)
    generator = _generator()
    if _is_whole(out, settings, generator):
        return read_report(out)
    chosen_library()  # before anything is written
    with _workplace(out, settings, generator) as progress:
        plans = plan(settings, progress)
        made = _make(plans, settings, workers)
        chosen = [(p, made[i]) for i, p in enumerate(plans) if i in made][: _cut(plans, made, settings.number)]
        _finish(out, progress, chosen, settings, generator)
    return _with_costs(read_report(out), [one for _, one in chosen])


def check(settings: Settings) -> None:
    """Raise SynthesisError for settings that nothing can be made with."""
    for task in settings.tasks:
        find_task(task)
    for fault in settings.faults:
        find_fault(fault)
    if not settings.tasks or not settings.faults or not settings.cameras:
        raise SynthesisError("nothing to make: give at least one task, one fault and one camera")
    for what, names in (("task", settings.tasks), ("fault", settings.faults), ("camera", settings.cameras)):
        doubles = [name for name, count in Counter(names).items() if count > 1]
        if doubles:
            raise SynthesisError(f"{what} {doubles[0]} is given twice")
    first, last = settings.seeds
    if not 0 <= first < last:
        raise SynthesisError(f"seeds {first}:{last}: give FIRST:END with 0 <= FIRST < END, such as 0:20")
    tried = min(len(settings.faults), settings.per_scene or len(settings.faults))
    if tried >= len(LABELS):
        raise SynthesisError(f"{tried} faults in a scene; at most {len(LABELS) - 1}, a letter for each rollout")


def plan(settings: Settings, progress: Path | None = None) -> list[Plan]:
    """The scenes in their order: all seeds of the first task, then of the next, since a change of task costs a second.

    With a `number` the seeds come first, so that it is not reached within one task.
    """
    if settings.number is None:
        order = [(task, seed) for task in settings.tasks for seed in range(*settings.seeds)]
    else:
        order = [(task, seed) for seed in range(*settings.seeds) for task in settings.tasks]
    return [
        Plan(task=task, seed=seed, settings=settings, folder=str((progress or Path()) / f"part-{task}-{seed}"))
        for task, seed in order
    ]


def applicable(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The chosen faults that can bite in each chosen task."""
    return {
        task: tuple(slug for slug in settings.faults if find_fault(slug).applies(find_task(task)) is None)
        for task in settings.tasks
    }


def run_plan(plan: Plan) -> Made:
    """Make one scene, and put it in its place with its mark. A kill at any time leaves either nothing or a whole."""
    part, progress = Path(plan.folder), Path(plan.folder).parent
    if part.exists():  # a worker was killed at it, in this run
        shutil.rmtree(part)
    made = make_scene(plan)
    place = progress.parent / "scenes" / plan.name
    if place.exists():  # an earlier run was killed between the two steps below
        shutil.rmtree(place)
    if made.rollouts:
        place.parent.mkdir(exist_ok=True)
        part.rename(place)
    else:
        shutil.rmtree(part, ignore_errors=True)
    _write_whole(_mark(progress, plan), msgspec.json.encode(made))
    return made


def _make(plans: Sequence[Plan], settings: Settings, workers: int) -> dict[int, Made]:
    """What came of the plans, by their place: of all, or of at least those up to the one that completes `number`."""
    progress = Path(plans[0].folder).parent
    made: dict[int, Made] = {}
    number = {plan.name: i for i, plan in enumerate(plans)}
    for i, one in enumerate(plans):
        with contextlib.suppress(OSError, msgspec.MsgspecError):  # no mark: it is still to be made
            made[i] = msgspec.json.decode(_mark(progress, one).read_bytes(), type=Made)
    waiting = [one for i, one in enumerate(plans) if i not in made]
    total = len(plans) if settings.number is None else settings.number
    unit = "scene" if settings.number is None else "faulted rollout"
    with tqdm(total=total, unit=unit, desc="synthesize", disable=None) as bar:

        def enough() -> bool:
            done = len(made) if settings.number is None else sum(one.faulted for one in made.values())
            bar.update(min(done, total) - bar.n)
            return _cut(plans, made, settings.number) is not None

        if not waiting or enough():
            return made
        choose()  # once here: workers inherit the answer
        results = run_local(run_plan, waiting, workers)
        with contextlib.closing(results):  # type: ignore[type-var]
            for one, result in results:
                made[number[one.name]] = result
                if enough() and settings.number is not None:
                    break
    return made


def _cut(plans: Sequence[Plan], made: dict[int, Made], number: int | None) -> int | None:
    """How many plans, from the first on, are needed for `number` faulted rollouts; None: it is not known yet.

    All of them where there is no number, or where all together do not reach it.
    """
    faulted = 0
    for i in range(len(plans)):
        if i not in made:
            return None
        faulted += made[i].faulted
        if number is not None and faulted >= number:
            return i + 1
    return len(plans)


def _finish(out: Path, progress: Path, chosen: Sequence[tuple[Plan, Made]], settings: Settings, generator: str) -> None:
    renderers = sorted({made.renderer for _, made in chosen})
    if len(renderers) > 1:
        raise SynthesisError(
            f"{out}: was begun with renderer {renderers[0]} and continued with {renderers[1]}, whose pixels differ; "
            "remove the folder and make it anew on one machine"
        )
    keep = {plan.name for plan, made in chosen if made.rollouts}
    for place in (out / "scenes").glob("*"):
        if place.name not in keep:  # made ahead by a worker, beyond the number that was asked for
            shutil.rmtree(place)
    lines = [msgspec.json.encode(dropped) + b"\n" for _, made in chosen for dropped in made.dropped]
    _write_whole(out / DROPPED_FILE, b"".join(lines))
    whole = SyntheticSet(
        format=FORMAT,  # type: ignore[arg-type]
        generator=generator,
        renderer=renderers[0],
        robot=ROBOT,
        license=LICENSE,
        attribution=ATTRIBUTION,
        tie_band=TIE_BAND,
        arguments=settings.as_json(),
    )
    write_json(progress / SET_FILE, whole)
    (progress / SET_FILE).replace(out / SET_FILE)
    shutil.rmtree(progress)


@contextlib.contextmanager
def _workplace(out: Path, settings: Settings, generator: str) -> Iterator[Path]:
    """The folder `.progress` of the set, locked, with nothing in it but marks of these settings."""
    progress = out / PROGRESS
    if out.exists() and not out.is_dir():
        raise SynthesisError(f"{out}: is a file; give the path of a new folder")
    if out.is_dir() and any(out.iterdir()) and not progress.is_dir():
        raise SynthesisError(f"{out}: holds something else than a set; give the path of a new folder")
    progress.mkdir(parents=True, exist_ok=True)
    with (progress / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SynthesisError(f"{out}: another process is making this set now; wait for it to end") from error
        begun = msgspec.json.encode({"generator": generator, "settings": settings})
        told = progress / "settings.json"
        if told.exists() and told.read_bytes() != begun:
            raise SynthesisError(
                f"{out}: was begun with other arguments or versions; run that command again, or give a new folder"
            )
        _write_whole(told, begun)
        for left in progress.glob("part-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield progress


def _is_whole(out: Path, settings: Settings, generator: str) -> bool:
    """Whether the set is there already. Raises SynthesisError where another one is."""
    if not (out / SET_FILE).is_file():
        return False
    try:
        there = msgspec.json.decode((out / SET_FILE).read_bytes(), type=SyntheticSet)
    except msgspec.MsgspecError as error:
        raise SynthesisError(f"{out / SET_FILE}: is not what this command writes; give a new folder") from error
    if there.generator != generator or there.arguments != settings.as_json():
        raise SynthesisError(f"{out}: holds a set of other arguments or versions; give the path of a new folder")
    shutil.rmtree(out / PROGRESS, ignore_errors=True)  # a kill came between the last two steps
    return True


def read_report(folder: Path) -> Report:
    """What is in a whole set. Raises BadRobotError where the folder is none."""
    if not (folder / SET_FILE).is_file():
        raise BadRobotError(f"{folder}: has no {SET_FILE}, so it is no whole set; bad-robot synthesize makes one")
    by_fault: dict[str, Counter[str]] = {}
    count = 0
    for scene in read_scenes(folder):
        count += 1
        for episode in scene.episodes:
            by_fault.setdefault(episode.fault or "success", Counter())[episode.outcome] += 1
    dropped = Counter(
        msgspec.json.decode(line, type=Dropped).code for line in (folder / DROPPED_FILE).read_bytes().splitlines()
    )
    outcomes = sum(by_fault.values(), Counter[str]())
    return Report(
        path=str(folder),
        scenes=count,
        rollouts=outcomes.total(),
        outcomes=dict(sorted(outcomes.items())),
        by_fault={name: dict(sorted(counts.items())) for name, counts in sorted(by_fault.items())},
        dropped=dict(sorted(dropped.items())),
    )


def read_scenes(folder: Path) -> Iterator[Scene]:
    """The scenes of a set that this package wrote, by name."""
    for path in sorted(folder.glob("scenes/*/scene.json")):
        yield msgspec.json.decode(path.read_bytes(), type=Scene)


def _with_costs(report: Report, made: Sequence[Made]) -> Report:
    return msgspec.structs.replace(
        report,
        clock=sum((one.clock for one in made), Clock()),
        seconds=sum(one.seconds for one in made),
        peak_mb_by_tenth=[
            round(max(one.peak_mb for one in made[: max(len(made) * tenth // 10, 1)]), 1) for tenth in range(1, 11)
        ],
    )


def summary(report: Report) -> str:
    """The report in a few lines for a person, ending with where the set lies."""
    told = ", ".join(f"{count} {name}" for name, count in report.outcomes.items())
    lines = [f"scenes: {report.scenes}; rollouts: {report.rollouts}{f', of which {told}' if told else ''}"]
    for fault, outcomes in report.by_fault.items():
        lines.append(f"  {fault}: " + ", ".join(f"{count} {name}" for name, count in outcomes.items()))
    lines += [f"dropped: {count} x {code}" for code, count in report.dropped.items()]
    if report.clock is not None and report.seconds and report.rollouts:
        clock, whole = report.clock, report.seconds
        own = whole - clock.physics - clock.rendering - clock.encoding
        shares = {"physics": clock.physics, "rendering": clock.rendering, "encoding": clock.encoding, "else": own}
        spent = ", ".join(f"{name} {100 * part / whole:.0f} %" for name, part in shares.items())
        lines.append(f"time: {whole / report.rollouts:.2f} s a rollout and core: {spent}")
    lines.append(f"set: {report.path}")
    return "\n".join(lines)


def _generator() -> str:
    """What makes the set, by version. Imports none of it: mujoco must not be loaded before a renderer is chosen."""
    parts = []
    for name in ("metaworld", "mujoco"):
        try:
            parts.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError as error:
            raise MissingExtraError(name, "sim") from error
    return f"bad-robot-behavior {__version__} on {', '.join(parts)}"


def _mark(progress: Path, plan: Plan) -> Path:
    return progress / f"{plan.name}.json"


def _write_whole(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)


def describe(settings: Settings) -> dict[str, Any]:
    """What would be made, without making it."""
    scenes = plan(settings)
    fitting = applicable(settings)
    tried = settings.per_scene or len(settings.faults)
    most = sum(1 + min(len(fitting[one.task]), tried) for one in scenes)
    return {"scenes": len(scenes), "rollouts_at_most": most, "faults_by_task": {k: list(v) for k, v in fitting.items()}}


def outlook(described: dict[str, Any]) -> str:
    """What `describe` gave, for a person."""
    lines = [f"{task}: {', '.join(faults) or 'none'}" for task, faults in described["faults_by_task"].items()]
    return "\n".join([*lines, f"scenes: {described['scenes']}; rollouts: at most {described['rollouts_at_most']}"])
