"""A release as a builder of the `datasets` package, for what `load_dataset` on a folder cannot do: see install.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import datasets

from bad_robot_behavior.builder.features import (
    CONFIGS,
    DEFAULT_CONFIG,
    SPLITS,
    TABLES,
    VIDEO_CONFIG,
    VIDEO_SCHEMA,
    arrow_schema,
)
from bad_robot_behavior.builder.loader import DEFAULT_NAME
from bad_robot_behavior.builder.reading import RowFile, parquet_files
from bad_robot_behavior.errors import ReleaseError


class BadRobotBehavior(datasets.GeneratorBasedBuilder):  # type: ignore[misc]
    """Configs rollouts (the default), preferences, trajectories, demonstrations, reward_samples, videos of a release.

    base_path: the release's folder; None: the release that is installed as `bad-robot-behavior`.
    """

    BUILDER_CONFIGS: ClassVar[list[datasets.BuilderConfig]] = [datasets.BuilderConfig(name=name) for name in CONFIGS]
    DEFAULT_CONFIG_NAME = DEFAULT_CONFIG
    DEFAULT_WRITER_BATCH_SIZE = 50  # config `videos` holds whole mp4 files in memory

    def _info(self) -> datasets.DatasetInfo:
        name = self.config.name
        if name not in CONFIGS:
            raise ReleaseError(f"there is no config {name!r}; legal: {', '.join(CONFIGS)}")
        schema = VIDEO_SCHEMA if name == VIDEO_CONFIG else arrow_schema(TABLES[name])
        return datasets.DatasetInfo(features=datasets.Features.from_arrow_schema(schema))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        root = self._root()
        generators = [
            datasets.SplitGenerator(name=split, gen_kwargs={"root": str(root), "files": [str(file) for file in files]})
            for split in SPLITS
            if (files := parquet_files(root / self.config.name, (split,)))
        ]
        if not generators:
            raise ReleaseError(f"{root}: this release has no rows of config {self.config.name}")
        return generators

    def _generate_examples(self, root: str, files: list[str]) -> Iterator[tuple[Any, dict[str, Any]]]:
        for number, file in enumerate(files):
            for row, example in enumerate(RowFile.open(Path(file), Path(root)).rows()):
                yield datasets.builder.Key(number, row), example

    def _root(self) -> Path:
        if self.base_path is not None:
            return Path(self.base_path)
        from bad_robot_behavior.builder.finding import find_release

        return find_release(DEFAULT_NAME)
