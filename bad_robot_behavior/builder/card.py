"""The dataset card: README.md of a release, filled from the template dataset_card.md."""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bad_robot_behavior.builder.features import DEFAULT_CONFIG, SPLITS
from bad_robot_behavior.errors import ReleaseError
from bad_robot_behavior.schema import Estimate, Recipe, ReleaseManifest, RewardQuality, Took

_PURPOSE = {
    "rollouts": "one attempt of one policy at one instruction",
    "preferences": "a human's choice between two rollouts of a session",
    "trajectories": "states and actions of a rollout, (T, D) float32",
    "demonstrations": "a failed rollout prepared as an in-context example, at one of three levels",
    "reward_samples": "one answer of a model about one rollout: all that reward curves were chosen from",
    "videos": "one camera's video of a rollout, as mp4 bytes",
}

# SPDX ids that the Hub knows under the same name in lower case; any other is declared as `other` with its name.
_HUB_LICENSES = (
    "apache-2.0 mit bsd-2-clause bsd-3-clause cc0-1.0 cc-by-2.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 "
    "cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nc-nd-4.0 cc-by-nd-4.0 odc-by odbl"
)
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def card(recipe: Recipe, manifest: ReleaseManifest, unscrubbed: int = 0, quality: RewardQuality | None = None) -> str:
    """The whole README.md. unscrubbed: rollouts without a privacy record; quality: what was sampled of a model.

    Raises ReleaseError where the template is missing from the installation.
    """
    counts = manifest.counts
    values = {
        "front_matter": yaml.safe_dump(
            front_matter(recipe, manifest), sort_keys=False, allow_unicode=True, width=100
        ).strip(),
        "title": recipe.title,
        "description": recipe.description.strip(),
        "name": recipe.name,
        "version": recipe.version,
        "schema_version": manifest.schema_version,
        "taxonomy_version": manifest.taxonomy_version,
        "counts_sentence": (
            f"{counts.rollouts_packaged:,} robot rollouts of {counts.sessions:,} sessions with {counts.videos:,} "
            f"videos and {counts.preferences:,} human preferences between them."
        ),
        "config_rows": _config_rows(manifest),
        "split_rows": _split_rows(recipe, manifest),
        "source_rows": _source_rows(manifest),
        "rejected_sentence": _rejected(manifest),
        "privacy_sentence": _privacy(manifest, unscrubbed),
        "model_rows": _models(manifest),
        "reward_rows": _rewards(quality),
        "video_sentence": _videos(manifest),
    }
    return string.Template(_template()).substitute(values)


def front_matter(recipe: Recipe, manifest: ReleaseManifest) -> dict[str, Any]:
    """The YAML block of the card.

    Each config carries the hash of its files: `datasets` keys its cache by this block and not by the files, so without
    the hash a release that was built again would give its old rows.
    """
    matter: dict[str, Any] = {"pretty_name": recipe.title, **_license(manifest), "task_categories": ["robotics"]}
    matter["tags"] = ["robotics", "reward-model", "failure", "preferences", "video"]
    matter["size_categories"] = [
        next((name for limit, name in _SIZES if manifest.counts.rollouts_packaged < limit), "1M<n<10M")
    ]
    matter["configs"] = [_config(name, manifest) for name in manifest.configs]
    return matter


def content_hash(config: str, manifest: ReleaseManifest) -> str:
    """SHA-256 over the paths and hashes of a config's parquet files."""
    lines = [f"{file.sha256}  {file.path}\n" for file in manifest.files if _belongs(file.path, config)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def splits_of(config: str, manifest: ReleaseManifest) -> list[str]:
    """The splits for which a config has files."""
    names = {Path(file.path).name.split("-")[0] for file in manifest.files if _belongs(file.path, config)}
    return [split for split in SPLITS if split in names]


def _belongs(path: str, config: str) -> bool:
    folder, _, name = path.partition("/")
    return folder == config and name.endswith(".parquet") and name.split("-")[0] in SPLITS


def _config(name: str, manifest: ReleaseManifest) -> dict[str, Any]:
    entry: dict[str, Any] = {"config_name": name}
    if name == DEFAULT_CONFIG:
        entry["default"] = True
    entry["version"] = manifest.version
    entry["description"] = f"sha256-{content_hash(name, manifest)}"
    entry["data_files"] = [{"split": split, "path": f"{name}/{split}-*.parquet"} for split in splits_of(name, manifest)]
    return entry


def _license(manifest: ReleaseManifest) -> dict[str, Any]:
    ids = sorted({verdict.license for verdict in manifest.licenses if verdict.allowed and verdict.license})
    known = [spdx.lower() for spdx in ids if spdx.lower() in _HUB_LICENSES.split()]
    if ids and len(known) == len(ids):
        return {"license": known[0] if len(known) == 1 else known}
    return {"license": "other", "license_name": " and ".join(ids) or "unknown", "license_link": "LICENSES.md"}


def _config_rows(manifest: ReleaseManifest) -> str:
    counts: Mapping[str, int] = {
        "rollouts": manifest.counts.rollouts_packaged,
        "preferences": manifest.counts.preferences,
        "trajectories": manifest.counts.trajectories,
        "demonstrations": manifest.counts.demonstrations,
        "reward_samples": manifest.counts.reward_samples,
        "videos": manifest.counts.videos,
    }
    return "\n".join(f"| {name} | {counts[name]:,} | {_PURPOSE[name]} |" for name in manifest.configs)


def _split_rows(recipe: Recipe, manifest: ReleaseManifest) -> str:
    """What each split got beside what the recipe asked for: groups that may not be torn apart can be large."""
    lines = []
    for split in SPLITS:
        count, wanted = manifest.counts.rollouts_by_split.get(split, 0), getattr(recipe.split, split)
        if count or wanted:
            lines.append(f"| {split} | {count:,} | {count / manifest.counts.rollouts_packaged:.0%} | {wanted:.0%} |")
    return "\n".join(lines)


def _source_rows(manifest: ReleaseManifest) -> str:
    lines = ["| source | licence | attribution |", "|---|---|---|"]
    lines += [
        f"| {_cell(verdict.source)} | {_cell(verdict.license)} | {_cell(verdict.attribution)} |"
        for verdict in manifest.licenses
    ]
    return "\n".join(lines)


def plain_text(text: str) -> str:
    """A stranger's text on one line of a Markdown page: no HTML, no link, no code, no cell of a table in it."""
    return re.sub(r"([\\`*\[\]|<>])", r"\\\1", " ".join(text.split()))


def _cell(text: str | None) -> str:
    return "unknown" if text is None else plain_text(text)


def _rejected(manifest: ReleaseManifest) -> str:
    counts = manifest.counts
    if not counts.rejections_by_code:
        return "none."
    codes = ", ".join(f"{count:,} by `{code}`" for code, count in counts.rejections_by_code.items())
    return (
        f"{counts.rollouts_rejected:,} of {counts.rollouts_read:,}. Rejections of all kinds: {codes}. "
        "Besides rollouts, these can be sessions, preferences, and critiques and reward curves that packaged rollouts "
        "go without."
    )


def _privacy(manifest: ReleaseManifest, unscrubbed: int) -> str:
    lines = []
    if unscrubbed:
        lines += [f"{unscrubbed:,} rollouts never went through the scrub stage: nothing in them was checked.", ""]
    if manifest.waived_detectors:
        lines += ["These detectors did NOT run, so what they look for was not checked:", ""]
        lines += [
            f"- {detector.name}: {plain_text(detector.reason or 'no reason was given')}"
            for detector in manifest.waived_detectors
        ]
        lines.append("")
    elif not unscrubbed:
        lines += ["Every detector that the recipe names ran on every rollout.", ""]
    return "\n".join([*lines, "Column `privacy` says for each rollout which detectors ran and what they found."])


def _models(manifest: ReleaseManifest) -> str:
    if not manifest.models:
        return "No model was asked in making this release."
    return "\n".join(
        f"- stage `{use.stage}`: {plain_text(use.model)}"
        + (f", prompt {use.prompt_sha256[:12]}" if use.prompt_sha256 else "")
        + (f"; {took_sentence(use.took)}" if use.took else "")
        + "".join(f"; {plain_text(str(warning))}" for warning in use.parameters.get("warnings", ()))
        for use in manifest.models
    )


def took_sentence(took: Took) -> str:
    """What asking took, in a few words."""
    counts = (took.prompt_tokens, took.completion_tokens)
    prompt, completion = ("unknown" if count is None else f"{count:,}" for count in counts)
    cost = "" if took.cost is None else f", {took.cost:.2f} by the recipe's prices"
    return (
        f"{took.requests:,} requests, {took.answers:,} usable answers, {prompt} tokens of questions and {completion} "
        f"of answers{cost}"
    )


def _rewards(quality: RewardQuality | None) -> str:
    """Agreement with the humans before and after selection, each number with its n and interval."""
    if quality is None:
        return ""
    rows = [
        f"| {row.category} | {row.pairs:,} | {row.sessions:,} | {_share(row.first)} | {_share(row.kept)} | "
        f"{_share(row.control)} | {_share(row.beyond_control)} |"
        for row in quality.agreement
        if row.pairs
    ]
    words = {"paired": "sample k with the partner's sample k", "all_pairs": "each sample with each of the partner's"}
    floor = "-" if quality.noise_floor is None else f"{quality.noise_floor:.3f}"
    lines = [
        f"Of each of {quality.rollouts:,} rollouts {quality.samples} answers were sampled "
        f"({quality.samples_unreadable:,} of {quality.samples_drawn:,} could not be read), comparing "
        f"{words[quality.selection]}. For a pair of rollouts the answer is kept that orders it as the human did;",
        "config `reward_samples` holds all of them. Selection finds agreement also where the model knows nothing:",
        "`by chance` is the share of pairs that would keep one if the human's choice were a coin's, and only what",
        "is beyond it tells of the model.",
        "",
        "| pairs of | pairs | sessions | first answer agrees | an answer is kept | by chance | beyond chance |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"Asked again, the model disagrees with itself on a pair in {_share(quality.flips)} of the cases "
        f"({quality.flips_pairs:,} pairs).",
        f"The mean of a curve varies by {_share(quality.spread_return)}, one frame by {_share(quality.spread_frame)} "
        f"(standard deviation, {quality.spread_rollouts:,} rollouts),",
        f"and the share of pairs that one round of answers orders right by {floor} from round to round.",
        "Intervals hold 95 %, by bootstrap over sessions. `reward_quality.json` has all of it.",
    ]
    return "\n".join(["", *lines])


def _share(number: Estimate) -> str:
    if number.value is None:
        return "-"
    interval = "" if number.interval is None else f" [{number.interval[0]:.2f}, {number.interval[1]:.2f}]"
    return f"{number.value:.2f}{interval}"


def _videos(manifest: ReleaseManifest) -> str:
    if manifest.video_layout == "files":
        return "Videos are mp4 files under `videos/`; `videos.<role>.path` of a row gives the file, relative to here."
    return "Videos are bytes in config `videos`, a row for each rollout and camera role, apart from the small tables."


def _template() -> str:
    # In a wheel the template lies beside this module; in a checkout at the repository's root, where people edit it.
    here = Path(__file__).parent
    for path in (here / "dataset_card.md", here.parent.parent / "dataset_card.md"):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise ReleaseError("dataset_card.md, the template of the card, is missing; install bad-robot-behavior again")
