"""The card: its YAML block is what `datasets` and the Hub read, its prose tells what is and is not known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard

from bad_robot_behavior.builder.card import card, front_matter
from bad_robot_behavior.builder.paperwork import licenses
from bad_robot_behavior.builder.reading import read_manifest
from bad_robot_behavior.schema import ModelUse
from tests.builder.releases import VERDICT, make_recipe


def block(release: Path) -> dict[str, Any]:
    text = (release / "README.md").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return data


def test_the_block_is_what_datasets_reads(release: Path) -> None:
    configs = MetadataConfigs.from_dataset_card_data(DatasetCard.load(release / "README.md").data)
    assert list(configs) == list(read_manifest(release).configs)
    assert configs.get_default_config_name() == "rollouts"
    for entry in block(release)["configs"]:
        for file in entry["data_files"]:
            assert list(release.glob(file["path"])), file


def test_every_config_carries_the_hash_of_its_files(release: Path) -> None:
    hashes = [entry["description"] for entry in block(release)["configs"]]
    assert all(len(value) == len("sha256-") + 64 for value in hashes)
    assert len(set(hashes)) == len(hashes)


def test_nothing_of_the_template_is_left_open(release: Path) -> None:
    text = (release / "README.md").read_text(encoding="utf-8")
    assert "$" not in text
    assert "10 robot rollouts of 5 sessions with 10 videos and 5 human preferences" in text
    assert "10 rollouts never went through the scrub stage" in text
    assert "Every detector" not in text
    assert "`columns=` works for a folder and for a Hub id" in text
    assert "needs `torchcodec`" in text
    assert "`splits.parquet` (rollout_id, split, in_release) is the list of splits to cite" in text


@pytest.mark.parametrize(
    ("licenses", "expected"),
    [
        (["CC-BY-4.0"], {"license": "cc-by-4.0"}),
        (["MIT", "CC-BY-4.0"], {"license": ["cc-by-4.0", "mit"]}),
        (
            ["LicenseRef-Lab", "MIT"],
            {"license": "other", "license_name": "LicenseRef-Lab and MIT", "license_link": "LICENSES.md"},
        ),
        ([], {"license": "other", "license_name": "unknown", "license_link": "LICENSES.md"}),
    ],
)
def test_the_licence_is_told_in_the_hub_s_words(
    files_release: Path, licenses: list[str], expected: dict[str, Any]
) -> None:
    verdicts = tuple(msgspec.structs.replace(VERDICT, license=spdx) for spdx in licenses)
    denied = msgspec.structs.replace(VERDICT, license="CC-BY-NC-4.0", allowed=False)
    manifest = msgspec.structs.replace(read_manifest(files_release), licenses=(*verdicts, denied))
    matter = front_matter(make_recipe(), manifest)
    assert {key: value for key, value in matter.items() if key.startswith("license")} == expected


def test_models_and_rejections_are_told(files_release: Path) -> None:
    manifest = read_manifest(files_release)
    counts = msgspec.structs.replace(
        manifest.counts, rollouts_read=12, rollouts_rejected=2, rejections_by_code={"screen.black": 2}
    )
    use = ModelUse(stage="distill", model="some-model", prompt_sha256="ab" * 32, parameters={})
    text = card(make_recipe(), msgspec.structs.replace(manifest, counts=counts, models=(use,)))
    assert "2 of 12. Rejections of all kinds: 2 by `screen.black`." in text
    assert "- stage `distill`: some-model, prompt abababababab" in text


def test_a_stranger_s_text_stays_text(files_release: Path) -> None:
    hostile = "Lab <script>alert(1)</script> | [x](javascript:alert(1)) ![y](http://z/p.png)\n# `rm`"
    verdict = msgspec.structs.replace(VERDICT, attribution=hostile)
    use = ModelUse(stage="distill", model=hostile, prompt_sha256=None, parameters={})
    manifest = msgspec.structs.replace(read_manifest(files_release), licenses=(verdict,), models=(use,))
    for text in (card(make_recipe(), manifest), licenses((verdict,))):
        assert r"\<script\>" in text
        assert re.search(r"(?<!\\)<(script|/script)", text) is None
        assert re.search(r"(?<!\\)\]\((javascript|http://z)", text) is None
        assert "\n# `rm`" not in text
        assert "Lab " in text
