"""What is added to a scene of the simulator: a cup that can tip, a second object, particles, and a camera on the wrist.

Bodies are added after all others, since the simulator's tasks address their object by its place in qpos. Their inertia
is given, since the simulator's models leave it out of count for the geoms they would be derived from.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.synthesis.renderer import mujoco

Second = Literal["block", "can"]
Floats = NDArray[np.float64]

CUP_RADIUS = 0.036
CUP_HEIGHT = 0.09
CLEARANCE = 0.2
"""Metres above the table over which the robot and what it carries pass over a cup."""
_WALL = 0.003
_SIDES = 10
PARTICLES = 4
_PARTICLE_RADIUS = 0.011
_SECOND_HALF = 0.02
_FRICTION = (0.8, 0.02, 0.001)

COLOURS: dict[str, tuple[float, float, float]] = {
    "green": (0.15, 0.6, 0.2),
    "yellow": (0.95, 0.8, 0.1),
    "orange": (0.95, 0.5, 0.1),
    "purple": (0.5, 0.2, 0.65),
    "white": (0.93, 0.93, 0.9),
    "pink": (0.95, 0.5, 0.65),
}
"""Colours of what is added. A scene has none that its task's object or goal is called by."""
_PARTICLE_COLOUR = (0.35, 0.2, 0.1, 1.0)


@dataclasses.dataclass(frozen=True)
class Variant:
    """What decides the compiled model of a task: two scenes of one variant differ in places and colours alone."""

    xml: str
    """Path of the task's model."""
    second: Second | None
    """None: nothing but the wrist camera is added."""
    filled: bool


def compiled(variant: Variant) -> Any:
    """The MjModel of a variant. Do not change it: copy it."""
    models = _of_task(variant.xml)
    if variant not in models:
        models[variant] = _compile(variant)
    return models[variant]


@functools.lru_cache(maxsize=1)
def _of_task(xml: str) -> dict[Variant, Any]:
    """Models of the task whose turn it is; one is 20 MB, and a task has five variants at most."""
    return {}


def _compile(variant: Variant) -> Any:
    library = mujoco()
    spec = library.MjSpec.from_file(variant.xml)
    # Along the fingers, from behind the hand's rail, so that both pads and what is between them are seen.
    spec.body("hand").add_camera(name="wrist", pos=[-0.09, 0.0, 0.09], xyaxes=[0, -1, 0, 0.5, 0, 1], fovy=70)
    if variant.second is not None:
        _add_second(library, spec, variant.second)
        _add_cup(library, spec)
        for number in range(PARTICLES if variant.filled else 0):
            _add_particle(library, spec, number)
    return spec.compile()


def _free_body(spec: Any, name: str, mass: float, size: Floats, height: float = 0.0) -> Any:
    """A body with the inertia of a box of that full size, its centre of mass at `height` above its frame."""
    x, y, z = (size**2).tolist()
    body = spec.worldbody.add_body(name=name, mass=mass, explicitinertial=True)
    body.ipos = [0.0, 0.0, height]
    body.inertia = [mass / 12 * (y + z), mass / 12 * (x + z), mass / 12 * (x + y)]
    body.add_freejoint()
    return body


def _shape(library: Any, body: Any, name: str, kind: str, size: list[float], **more: Any) -> None:
    body.add_geom(
        name=name,
        type=getattr(library.mjtGeom, f"mjGEOM_{kind.upper()}"),
        size=size,
        contype=1,
        conaffinity=1,
        condim=4,
        friction=list(_FRICTION),
        group=1,
        **more,
    )


def _add_second(library: Any, spec: Any, second: Second) -> None:
    side = 2 * _SECOND_HALF
    body = _free_body(spec, "second", 0.15, np.array([side, side, side]))
    if second == "block":
        _shape(library, body, "second", "box", [_SECOND_HALF] * 3)
    else:
        _shape(library, body, "second", "cylinder", [_SECOND_HALF, _SECOND_HALF, 0])


def _add_cup(library: Any, spec: Any) -> None:
    """A ring of boxes on a disc; its frame is at the middle of its foot."""
    body = _free_body(spec, "cup", 0.12, np.array([2 * CUP_RADIUS, 2 * CUP_RADIUS, CUP_HEIGHT]), CUP_HEIGHT * 0.45)
    _shape(library, body, "cup_foot", "cylinder", [CUP_RADIUS, _WALL, 0], pos=[0, 0, _WALL])
    width = CUP_RADIUS * np.tan(np.pi / _SIDES) + _WALL
    for side in range(_SIDES):
        angle = 2 * np.pi * side / _SIDES
        _shape(
            library,
            body,
            f"cup_{side}",
            "box",
            [_WALL, width, CUP_HEIGHT / 2],
            pos=[CUP_RADIUS * np.cos(angle), CUP_RADIUS * np.sin(angle), CUP_HEIGHT / 2],
            quat=[np.cos(angle / 2), 0, 0, np.sin(angle / 2)],
        )


def _add_particle(library: Any, spec: Any, number: int) -> None:
    side = 2 * _PARTICLE_RADIUS
    body = _free_body(spec, f"particle_{number}", 0.006, np.array([side, side, side]))
    _shape(library, body, f"particle_{number}", "sphere", [_PARTICLE_RADIUS, 0, 0], rgba=list(_PARTICLE_COLOUR))


def places(model: Any, cup: Floats, second: Floats, table: float) -> dict[int, Floats]:
    """Poses of all added bodies, with cup and second object at these xy: (7,) by their first place in qpos."""
    positions = {"second": np.array([*second, table + _SECOND_HALF]), "cup": np.array([*cup, table])}
    number = 0
    while mujoco().mj_name2id(model, mujoco().mjtObj.mjOBJ_BODY.value, f"particle_{number}") >= 0:
        angle = 2 * np.pi * number / PARTICLES
        offset = 0.018 * np.array([np.cos(angle), np.sin(angle)])  # no two of them touch
        positions[f"particle_{number}"] = np.array([*(cup + offset), table + 2 * _WALL + _PARTICLE_RADIUS])
        number += 1
    return {
        int(model.jnt_qposadr[model.body_jntadr[model.body(body).id]]): np.array([*position, 1, 0, 0, 0])
        for body, position in positions.items()
    }


def paint(model: Any, body: str, colour: str) -> None:
    """Give all geoms of an added body one of COLOURS, in a copied model."""
    number = model.body(body).id
    model.geom_rgba[model.geom_bodyid == number] = [*COLOURS[colour], 1.0]


def footprints(model: Any, data: Any) -> Floats:
    """(n, 4) x_min, y_min, x_max, y_max of every solid geom of the scene that comes lower than CLEARANCE.

    Left out are the floor, the table, and what the robot and the added bodies are made of.
    """
    skip = ("base", "mocap", "tablelink", "RetainingWall", "second", "cup", "world")
    boxes = []
    for geom in range(model.ngeom):
        root = model.body(model.body_rootid[model.geom_bodyid[geom]]).name
        solid = model.geom_contype[geom] or model.geom_conaffinity[geom]
        if not solid or root in skip or root.startswith("particle"):
            continue
        centre, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
        turned = data.geom_xmat[geom].reshape(3, 3)
        middle = data.geom_xpos[geom] + turned @ centre
        reach = np.abs(turned) @ half
        if middle[2] - reach[2] < CLEARANCE:
            boxes.append([*(middle - reach)[:2], *(middle + reach)[:2]])
    return np.array(boxes).reshape(-1, 4)


def find_places(
    rng: np.random.Generator, boxes: Floats, way: Floats, low: Floats, high: Floats, near: Floats
) -> tuple[Floats, Floats] | None:
    """Where the cup and the second object can stand: (cup xy, second xy), or None where the scene has no room.

    They keep clear of `boxes` (from `footprints`) and of the places `way` (n, 2) where the gripper comes down, and
    stand as near to the point `near` as that lets them, so that the robot can reach them.
    """
    candidates = rng.uniform(low, high, size=(400, 2))
    distance = np.linalg.norm(candidates - near, axis=1)
    free = (distance_to_boxes(candidates, boxes) > 0.055).all(axis=1) & (_distance(candidates, way) > 0.125)
    order = np.argsort(distance + rng.uniform(0, 0.1, size=len(distance)))
    kept = candidates[order][free[order]]
    for cup in kept[:5]:
        apart = np.linalg.norm(kept - cup, axis=1) > 0.12
        if apart.any():
            second = kept[np.argmax(apart)]
            return (cup, second) if rng.random() < 0.5 else (second, cup)
    return None


def distance_to_boxes(points: Floats, boxes: Floats) -> Floats:
    """(n, m) metres from points (n, 2) to boxes (m, 4) from `footprints`; 0 inside."""
    beyond = np.maximum(boxes[None, :, :2] - points[:, None], points[:, None] - boxes[None, :, 2:])
    return np.asarray(np.linalg.norm(np.maximum(beyond, 0), axis=2))


def _distance(points: Floats, way: Floats) -> Floats:
    if not len(way):
        return np.full(len(points), np.inf)
    distance: Floats = np.linalg.norm(points[:, None] - way, axis=2).min(axis=1)
    return distance
