"""Coverage-guided fuzzing of the readers of strangers' files, with atheris (libFuzzer):

    pip install atheris
    python fuzz/fuzz.py npz -max_total_time=600
    python fuzz/fuzz.py yaml -max_total_time=600
    python fuzz/fuzz.py dump -max_total_time=600
    python fuzz/fuzz.py predictions -max_total_time=600

Whatever a reader raises that is not its own named error ends the run and leaves the input as crash-*. Put it into
fuzz/crashes/<reader>/: tests/hostile/test_fuzz.py reads all of these, and does a short run of its own without atheris.
Options of libFuzzer go after the name; -rss_limit_mb=2048 -timeout=20 are set here.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = Path(tempfile.gettempdir())


def npz(data: bytes) -> None:
    """The first byte says whether the rest is an archive, the one .npy of an archive, or the pickle in such a .npy."""
    from bad_robot_behavior.curation.sources.safe_npz import Limits, NpzError, read_npz

    kind, rest = data[:1], data[1:]
    if kind == b"p":
        header = repr({"descr": "|O", "fortran_order": False, "shape": (1,)}).encode()
        rest = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + rest
    path = FOLDER / "fuzz.npz"
    if kind in (b"p", b"n"):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("data.npy", rest)
        rest = packed.getvalue()
    path.write_bytes(rest)
    with contextlib.suppress(NpzError):
        read_npz(path, Limits(size_bytes=1 << 22, opcodes=20_000, values=20_000))


def yaml(data: bytes) -> None:
    """The loader of dumps, and the reader of a lab's session.yaml with all its fields."""
    from bad_robot_behavior.curation.sources.lab_yaml import Findings
    from bad_robot_behavior.curation.sources.session_file import read_session
    from bad_robot_behavior.schema.plain_yaml import YamlError, read_yaml

    path = FOLDER / "fuzz.yaml"
    path.write_bytes(data)
    with contextlib.suppress(YamlError):
        read_yaml(path)
    findings = Findings("session.yaml")
    read_session(path, findings)
    for _, defect in findings.found:
        str(defect).encode()


def dump(data: bytes) -> None:
    """A dump whose one session has this metadata.yaml, and no videos: rollouts become rejections that can be written."""
    import msgspec

    from bad_robot_behavior.curation.sources.roboarena import RoboArena
    from bad_robot_behavior.curation.stage import Store
    from bad_robot_behavior.schema import SourceSettings

    session = FOLDER / "fuzz-dump" / "evaluation_sessions" / "s"
    (session / "A_p").mkdir(parents=True, exist_ok=True)
    (session / "metadata.yaml").write_bytes(data)
    source = RoboArena(SourceSettings(name="r", kind="roboarena", path="."), FOLDER / "fuzz-dump")
    for item in source.read("s", Store(FOLDER / "fuzz-store")):
        msgspec.json.encode(item)


def predictions(data: bytes) -> None:
    """The first byte says whether the rest is the parquet file, or the text of its `parameters`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from bad_robot_behavior.benchmark.predictions import check, read
    from bad_robot_behavior.errors import PredictionsError

    path = FOLDER / "fuzz.parquet"
    if data[:1] == b"t":
        columns = {"rollout_id": ["a" * 20], "frame_index": [[0]], "value": [[0.5]], "model": ["m"]}
        text = pa.array([data[1:]], pa.binary())
        table = pa.table(columns | {"parameters": pa.Array.from_buffers(pa.string(), 1, text.buffers())})
        pq.write_table(table, path, store_schema=False)
    else:
        path.write_bytes(data[1:])
    for defect in check(path):
        str(defect).encode()
    with contextlib.suppress(PredictionsError):
        read(path)


TARGETS: dict[str, Callable[[bytes], None]] = {"npz": npz, "yaml": yaml, "dump": dump, "predictions": predictions}


def seeds(name: str) -> list[bytes]:
    """Sound inputs, from which the fuzzer starts."""
    import pickle

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    if name == "npz":
        steps = np.array([{"action": np.zeros(8), "n": np.float64(1), "t": ("a", None, 2**70)}], dtype=object)
        packed = io.BytesIO()
        np.savez_compressed(packed, data=steps, state=np.zeros((2, 3), np.float32))
        single = io.BytesIO()
        np.save(single, np.array(["a", "bc"]))
        return [b"z" + packed.getvalue(), b"n" + single.getvalue(), *(b"p" + pickle.dumps(steps, n) for n in (2, 4, 5))]
    if name == "yaml":
        return [
            b"instruction: put it there\nfeedback: |-\n  A did it.\nrollouts:\n  A: {video: A.mp4, score: 0.9, success: true}\n"
            b'  "B": {video: B.mp4, failures: [{category: grasp, kind: slip, start_s: 1.5}]}\npreference: A\n',
            b"a: [1, 0x1f, 1:30, 1.5e3, .nan, ~, 'x']\n? b\n: !!str c\nd: &e [*e]\n",
        ]
    if name == "dump":
        return [
            b"language_instruction: put it there\nlongform_feedback: A fell\nevaluator_name: x\npreference: A\npolicies:\n"
            b"  A: {policy_name: p, binary_success: 0, partial_success: 0.5, duration: 11}\n  B:\nevaluation_notes: VALID_SESSION\n"
        ]
    columns = {"rollout_id": ["a" * 20], "frame_index": [[0, 1]], "value": [[0.5, 0.7]], "model": ["m"]}
    packed = io.BytesIO()
    pq.write_table(pa.table(columns | {"parameters": ["{}"]}), packed, compression="none")
    return [b"f" + packed.getvalue(), b't{"kind": "progress", "intervention": {"name": "reversed"}}']


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python fuzz/fuzz.py {{{','.join(TARGETS)}}} [options of libFuzzer]")
    name = sys.argv.pop(1)
    import atheris

    with atheris.instrument_imports(include=["bad_robot_behavior", "yaml", "zipfile"]):
        import yaml.loader  # noqa: F401  the modules are named here so that they are imported instrumented

        from bad_robot_behavior.benchmark import predictions  # noqa: F401
        from bad_robot_behavior.curation.sources import folder, roboarena  # noqa: F401
    corpus = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = ["-rss_limit_mb=2048", "-timeout=20", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, *sys.argv[1:], str(corpus)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
