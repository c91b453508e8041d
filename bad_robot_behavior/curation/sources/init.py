"""A commented lab folder to fill in: what `bad-robot init` writes."""

from __future__ import annotations

from pathlib import Path

from bad_robot_behavior.curation.sources.consent import FILE as CONSENT
from bad_robot_behavior.curation.sources.consent import TEMPLATE as CONSENT_TEMPLATE
from bad_robot_behavior.errors import BadRobotError

_LAB = """\
# What holds for all sessions of this folder. Every line is optional, and a session.yaml may say otherwise.
# Take away the "# " before the lines that you know; leave out what you do not know.

# site: Example University
# robot: franka
# evaluator: jane.doe              # published as a pseudonym only

# Without a licence nothing can be published. Use an SPDX id (https://spdx.org/licenses), and only one that
# whoever owns the videos has agreed to.
# license: CC-BY-4.0
# license_evidence: https://example.edu/robots/LICENSE
# attribution: Example University Robot Lab

# control_hz: 15                   # control steps per second
# capture_hz: 15                   # frames per second of real time, where the video plays slower or faster
# cameras: {exterior_1: zed_left, wrist: zed_mini}   # your own names of the cameras
"""

_SESSION = """\
# One session: one scene, one instruction, one or more rollouts. A folder and a session.yaml for each.
# The format is described in docs/lab-folder.md of bad-robot-behavior.

instruction: put the marker in the cup        # as the robot was told, in any language

# feedback: free text that names the rollouts by their labels, such as
#   Policy A put the marker in the cup at the second try. Policy B pushed the cup over.

rollouts:
  A:                        # the label; name the rollouts as your feedback does
    video: A.mp4            # put your video beside this file under this name, or change the name
    # videos: {exterior_1: A.mp4, exterior_2: A_right.mp4, wrist: A_wrist.mp4}   # instead, for several cameras
    # policy: pi0_fast_droid
    # score: 0.9            # graded, from 0 (nothing done) to 1 (all done)
    # success: true
    # trajectory: A.npz     # arrays state (T, D) and action (T, D), one row a control step
  B:
    video: B.mp4
    # score: 0.2
    # success: false
    # failures:             # what went wrong; category and kind are slugs of taxonomy.yaml
    #   - category: unsafe_interaction
    #     kind: collision_object
    #     severity: low     # none, low, medium or catastrophic
    #     start_s: 0.5      # seconds as a player shows them
    #     end_s: 0.9
    #     description: the gripper pushed the cup over

# preference: A             # which of the two was better: A, B or tie
"""

_README = """\
This is a lab folder of robot rollouts. Failed, clumsy and unsafe ones are the most wanted.

1. Copy session-001 for each of your sessions, put the mp4 files in it, and fill in its session.yaml.
2. Fill in lab.yaml: at least the licence.
3. Fill in consent.yaml: who agreed to what. It stays here.
4. Run `bad-robot validate .` in this folder until it names no defect.

Leave out what you do not know: unknown is better than a guess.
Names, faces, voices, e-mail addresses and container tags are taken out or made pseudonyms when a release is built,
before anything leaves your machine. Do record only people who have agreed to be recorded.
"""

TEMPLATE = {"lab.yaml": _LAB, CONSENT: CONSENT_TEMPLATE, "session-001/session.yaml": _SESSION, "README.txt": _README}
"""Text of each file by its path in the lab folder."""


def write_template(folder: Path) -> list[Path]:
    """Write the template into `folder`, which is made where it is missing, and return the files' paths.

    Raises BadRobotError, and writes nothing, where one of the files is there already or `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise BadRobotError(f"{folder}: is a file. Give the path of a new folder")
    paths = [folder / name for name in TEMPLATE]
    for path in paths:
        if path.exists() or path.is_symlink():
            raise BadRobotError(f"{path}: is there already and will not be overwritten. Give the path of a new folder")
    for path, text in zip(paths, TEMPLATE.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    return paths
