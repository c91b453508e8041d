"""Make a lab folder out of the project's real sample clips, for `kind: folder` in a recipe.

    python examples/lab_from_samples.py SAMPLES_DIR OUT

SAMPLES_DIR holds samples.json and the clips that it lists. Clips of one group are one session; clips without a group
are sessions of their own. The author-labelled pairs become preferences. What is left out is printed with its reason:
a clip without an instruction cannot be packaged, and `--instruction GROUP=TEXT` gives one where you know it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

# The authors call these clips "suboptimal". That says they are worse than the success beside them, not that they
# failed, so success and outcome stay unknown and only the preference speaks.
SUCCESS = {"success": True, "failure": False, "partial": None, "unknown": None}
ROLES = {"cam_high": "exterior_1", "cam_left_wrist": "wrist"}


def convert(samples: Path, out: Path, instructions: dict[str, str] | None = None) -> list[str]:
    """Write the lab folder. Returns what was left out and what is guessed, one line each."""
    listing = json.loads((samples / "samples.json").read_text(encoding="utf-8"))
    notes: list[str] = []
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for clip in listing["files"]:
        if clip["kind"] == "rollout":
            groups[group_of(clip)].append(clip)
    for group, clips in groups.items():
        instruction = (instructions or {}).get(group) or clips[0]["instruction"]
        if instruction is None:
            pairs = sum(pair["group"] == group for pair in listing["preference_pairs"])
            notes.append(f"{group}: left out {len(clips)} clips and {pairs} preference: the source has no instruction")
            continue
        folder = out / re.sub(r"[^a-z0-9]+", "-", group.lower()).strip("-")
        folder.mkdir(parents=True)
        rollouts = {}
        for label, views in zip("ABCDEFGH", rollouts_of(clips), strict=False):
            rollouts[label] = entry(samples, folder, label, views, notes)
        text = session_text(group, clips, instruction, rollouts, listing["preference_pairs"], notes)
        (folder / "session.yaml").write_text(text, encoding="utf-8")
    return notes


def group_of(clip: dict[str, Any]) -> str:
    """The clip's group; else its folder where that is one recording, else the clip itself."""
    path = Path(clip["file"])
    return clip.get("group") or str(path.parent if path.stem.startswith("cam_") else path.with_suffix(""))


def rollouts_of(clips: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Clips of one group, views of one rollout together, the better rollout of a pair first."""
    if all(Path(clip["file"]).stem.startswith("cam_") for clip in clips):
        return [clips]
    order = ["success", "partial", "unknown", "failure"]
    return [[clip] for clip in sorted(clips, key=lambda c: (order.index(c["outcome"]), c["file"]))]


def entry(samples: Path, folder: Path, label: str, views: list[dict[str, Any]], notes: list[str]) -> dict[str, Any]:
    """A rollout of session.yaml; its clips are put into the folder."""
    videos = {}
    for clip in views:
        source = samples / clip["file"]
        role = ROLES.get(source.stem, "exterior_1")
        if role in videos:
            notes.append(f"{clip['file']}: left out: a rollout has no role for this camera beside the others")
            continue
        videos[role] = f"{label}.mp4" if role == "exterior_1" else f"{label}_{role}.mp4"
        link_or_copy(source, folder / videos[role])
    made: dict[str, Any] = {"video": videos["exterior_1"]} if len(videos) == 1 else {"videos": videos}
    success = SUCCESS[views[0]["outcome"]]
    return made if success is None else made | {"success": success}


def session_text(
    group: str,
    clips: list[dict[str, Any]],
    instruction: str,
    rollouts: dict[str, dict[str, Any]],
    pairs: Iterable[dict[str, Any]],
    notes: list[str],
) -> str:
    """session.yaml as text, with a comment that says where each clip is from."""
    license, statement = re.fullmatch(r"(\S+)(?: \((.+)\))?", clips[0]["license"]).groups()
    repository = clips[0]["source"].split("@")[0]
    fields: dict[str, Any] = {
        "instruction": instruction,
        "license": license,
        "license_evidence": f"https://github.com/{repository} ({statement or 'as listed in samples.json'})",
        "attribution": f"authors of {repository}",
        "rollouts": rollouts,
    }
    labels = {views[0]["file"]: label for label, views in zip("ABCDEFGH", rollouts_of(clips), strict=False)}
    cameras = {ROLES[stem]: stem for stem in (Path(clip["file"]).stem for clip in clips) if stem in ROLES}
    if cameras:
        fields["cameras"] = cameras
    preferences = [
        {"a": labels[pair["better"]], "b": labels[pair["worse"]], "preferred": labels[pair["better"]]}
        for pair in pairs
        if pair["group"] == group
    ]
    if preferences:
        fields["preferences"] = preferences
    comments = [f"{clip['file']}: {clip['source']}, {clip['label_source']}" for clip in clips]
    if clips[0].get("instruction_is_a_guess"):
        comments.append("The instruction is a guess: the source does not give it.")
        notes.append(f"{group}: the instruction is a guess: {instruction!r}")
    text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
    return "".join(f"# {line}\n" for line in comments) + text


def link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=Path, help="folder with samples.json")
    parser.add_argument("out", type=Path, help="lab folder to write; must not exist")
    parser.add_argument("--instruction", action="append", default=[], metavar="GROUP=TEXT")
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"{arguments.out} exists; give the path of a new folder")
    if not (arguments.samples / "samples.json").is_file():
        parser.error(f"{arguments.samples} has no samples.json")
    if not all("=" in text for text in arguments.instruction):
        parser.error("--instruction needs GROUP=TEXT, such as fino/place='place the object'")
    for note in convert(arguments.samples, arguments.out, dict(t.split("=", 1) for t in arguments.instruction)):
        print(note)
    sessions = len(list(arguments.out.glob("*/session.yaml")))
    print(f"wrote {sessions} sessions; check them with: bad-robot validate {arguments.out}")


if __name__ == "__main__":
    main()
