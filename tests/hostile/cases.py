"""Files made to harm their reader. A case writes one into a folder and reads it; what must come is named beside it.

`expects` is the id of a rule or the name of an error of errors.py, or `read` where the content is harmless once read
and the case itself has looked at what came.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.factories import make_video

GIB = 1 << 30


class Case(NamedTuple):
    """What is attacked, and how it must end."""

    reader: str
    expects: str
    run: Callable[[Path], Any]


CASES: dict[str, Case] = {}


def case(name: str, reader: str, expects: str, run: Callable[[Path], Any]) -> None:
    assert name not in CASES
    CASES[name] = Case(reader, expects, run)


def sparse(path: Path, size: int = GIB, head: bytes = b"") -> Path:
    """A file that claims `size` bytes and takes none of the disk."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def link(path: Path, target: str) -> Path:
    path.symlink_to(target)
    return path


# .npz archives ---------------------------------------------------------------------------------------------------


def npz(path: Path) -> Any:
    from bad_robot_behavior.curation.sources.safe_npz import read_npz

    return read_npz(path)


def member(descr: object, shape: object, body: bytes = b"") -> bytes:
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def archive(folder: Path, *members: tuple[str, bytes]) -> Path:
    path = folder / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in members:
            out.writestr(name, data)
    return path


def pickled(folder: Path, data: bytes) -> Path:
    return archive(folder, ("data.npy", member("|O", (1,), data)))


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def run_pickle(folder: Path, protocol: int) -> None:
    import pickle

    array = np.empty(1, dtype=object)
    array[0] = Payload(folder / "ran")
    try:
        npz(pickled(folder, pickle.dumps(array, protocol)))
    finally:
        assert not (folder / "ran").exists()


def raw_zip(path: Path, name: bytes, packed: bytes, size: int, crc: int) -> Path:
    """A zip of one deflated member that says of itself what it is told to say."""
    facts = struct.pack("<3I", crc, len(packed), size)
    local = b"PK\x03\x04" + struct.pack("<5H", 20, 0, 8, 0, 33) + facts + struct.pack("<2H", len(name), 0) + name
    entry = b"PK\x01\x02" + struct.pack("<6H", 20, 20, 0, 8, 0, 33) + facts + struct.pack("<5H2I", len(name), *[0] * 6)
    entry += name
    end = b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, 1, 1, len(entry), len(local) + len(packed), 0)
    path.write_bytes(local + packed + entry + end)
    return path


def lying(folder: Path) -> Any:
    """1.2 GB behind a member that says it has 100 bytes."""
    first = member("<f8", (1,), bytes(8))
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = packer.compress(first) + b"".join(packer.compress(bytes(1 << 20)) for _ in range(1200)) + packer.flush()
    found = npz(raw_zip(folder / "x.npz", b"data.npy", packed, len(first), zlib.crc32(first)))
    assert found["data"].tolist() == [0.0]


def million_members(folder: Path) -> Any:
    entry = b"PK\x01\x02" + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"a"
    end = b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, 0xFFFF, 0xFFFF, len(entry) * 1_000_000, 0, 0)
    path = folder / "x.npz"
    path.write_bytes(entry * 1_000_000 + end)
    return npz(path)


def deep(folder: Path) -> Any:
    return npz(pickled(folder, b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b"."))


for protocol in (2, 3, 4, 5):
    case(f"pickle protocol {protocol}", "npz", "npz.foreign_object", lambda folder, p=protocol: run_pickle(folder, p))
case("pickle 0", "npz", "npz.foreign_object", lambda folder: npz(pickled(folder, b"cos\nsystem\n(S'true'\ntR.")))
case("pickle nested 100,000 deep", "npz", "npz.unreadable", deep)
case("pickle of a cycle", "npz", "npz.unreadable", lambda f: npz(pickled(f, b"\x80\x04]\x94h\x00a.")))
case("pickle claims 4 EiB", "npz", "npz.unreadable", lambda f: npz(pickled(f, b"\x8e" + struct.pack("<Q", 2**62))))
case("pickle of 10 million opcodes", "npz", "npz.too_large", lambda f: npz(pickled(f, b"N" * 10_000_000)))
case("zip bomb", "npz", "npz.too_large", lambda f: npz(archive(f, ("a.npy", bytes(200 << 20)))))
case("zip member that lies about its size", "npz", "read", lying)
case("npz of a million members", "npz", "npz.too_large", million_members)
case("npz of 1 GiB", "npz", "npz.too_large", lambda f: npz(sparse(f / "x.npz")))
case("npz is a pipe", "npz", "npz.unreadable", lambda f: npz(pipe(f / "x.npz")))
case("npz is a device", "npz", "npz.unreadable", lambda f: npz(link(f / "x.npz", "/dev/zero")))
case("npz member named ../x", "npz", "read", lambda f: npz(archive(f, ("../x.npy", member("<f8", (1,), bytes(8))))))
case("npy of dtype f1", "npz", "npz.foreign_object", lambda f: npz(archive(f, ("a.npy", member("|f1", (1,), b"x")))))
case("npy of 2^40 empty texts", "npz", "npz.unreadable", lambda f: npz(archive(f, ("a.npy", member("<U0", (2**40,))))))
case("npy of shape (0, 2^47, 2^47)", "npz", "npz.unreadable",
     lambda f: npz(archive(f, ("a.npy", member("<f8", (0, 2**47, 2**47))))))  # fmt: skip
case("npy of a structured dtype", "npz", "npz.foreign_object",
     lambda f: npz(archive(f, ("a.npy", member([("a", "<f8")], (1,), bytes(8))))))  # fmt: skip
case("npy header nested deep", "npz", "npz.unreadable",
     lambda f: npz(archive(f, ("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000))))  # fmt: skip


# YAML ------------------------------------------------------------------------------------------------------------


def text_of(folder: Path, text: str | bytes) -> Path:
    path = folder / "metadata.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def plain(path: Path) -> Any:
    from bad_robot_behavior.curation.sources.roboarena_metadata import read_entry, read_mapping, read_metadata

    metadata = read_metadata(read_mapping(path))
    return [read_entry(value) for value in metadata.policies.values()]


def lab(path: Path) -> Any:
    from bad_robot_behavior.curation.sources.lab_yaml import Findings
    from bad_robot_behavior.curation.sources.session_file import read_session

    findings = Findings("session.yaml")
    read_session(path, findings)
    return findings.found[0][1].rule if findings.found else "read"


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
)
BOTH = (("dump", plain), ("lab", lab))
for name, text, ends in (
    ("tag of os.system", "a: !!python/object/apply:os.system ['true']", "lab.yaml_not_plain"),
    ("tag of a set", "a: !!set {b}", "lab.yaml_not_plain"),
    ("anchors that explode", LAUGHS, "lab.yaml_not_plain"),
    ("anchor to itself", "a: &a [*a]", "lab.yaml_not_plain"),
    ("merge key", "a: {<<: {b: 1}}", "lab.yaml_not_plain"),
    ("nested 100,000 deep", "[" * 100_000, "lab.yaml_not_plain"),
    ("number of base 60", "a: 1" + ":1" * 100_000, "lab.yaml_syntax"),
    ("number of 5,000 digits", "a: 0x" + "f" * 5_000, "lab.yaml_syntax"),
    ("key of 900 digits", "0x" + "f" * 900 + ": 1", "lab.yaml_syntax"),
    ("key that stands twice", "instruction: a\ninstruction: b", "lab.duplicate_key"),
    ("two documents", "a: 1\n---\nb: 2", "lab.yaml_not_plain"),
    ("not UTF-8", b"a: \xff\xfe", "lab.yaml_encoding"),
    ("control characters", "a: \x1b[2J", "lab.yaml_syntax"),
    ("20,000 flow keys", "{" + ", ".join(f"k{i}" for i in range(20_000)) + "}", "lab.unknown_key"),
):
    where = {"dump": "roboarena.metadata_unreadable", "lab": ends}
    for room, reader in BOTH:
        case(f"{name} ({room})", "yaml", where[room], lambda f, t=text, r=reader: r(text_of(f, t)))
case("half a character (dump)", "yaml", "roboarena.metadata_unreadable", lambda f: plain(text_of(f, 'a: "\\ud83d"')))
case("half a character (lab)", "yaml", "lab.illegal_value", lambda f: lab(text_of(f, 'instruction: "\\ud83d"')))
for room, reader in BOTH:
    code = {"dump": "roboarena.metadata_unreadable", "lab": "lab.yaml_too_large"}[room]
    case(f"YAML of 1 GiB ({room})", "yaml", code, lambda f, r=reader: r(sparse(f / "x.yaml", head=b"a: ")))
    code = {"dump": "roboarena.metadata_missing", "lab": "lab.yaml_unreadable"}[room]
    case(f"YAML is a pipe ({room})", "yaml", code, lambda f, r=reader: r(pipe(f / "x.yaml")))
    case(f"YAML is a device ({room})", "yaml", code, lambda f, r=reader: r(link(f / "x.yaml", "/dev/zero")))
WHOLE = "language_instruction: put it there\npolicies:\n  A: {{policy_name: {}, partial_success: {}, duration: 5}}\n"
case("score of 1e999", "yaml", "roboarena.bad_score", lambda f: plain(text_of(f, WHOLE.format("p", "1.0e+999"))))
case(
    "score of 60 hex digits",
    "yaml",
    "roboarena.bad_score",
    lambda f: plain(text_of(f, WHOLE.format("p", "0x" + "f" * 60))),
)
case(
    "policy that clears the screen",
    "yaml",
    "roboarena.unprintable",
    lambda f: plain(text_of(f, WHOLE.format('"\\e[2J"', 1))),
)
case(
    "instruction written backwards",
    "yaml",
    "read",
    lambda f: plain(text_of(f, WHOLE.replace("put", "\u202eput").format("p", 1))),
)


# videos ----------------------------------------------------------------------------------------------------------


def video(path: Path) -> Any:
    """As a build does: probed by the source, then decoded by the screen, in another process."""
    from bad_robot_behavior import media
    from bad_robot_behavior.curation.screen import Screen
    from bad_robot_behavior.curation.stage import Store
    from bad_robot_behavior.schema import Rejection, ScreenSettings, Videos
    from tests.factories import make_rollout

    record = media.strange_video(path, "left")
    template = make_rollout(make_video(path.parent / "good.mp4"))
    import msgspec

    rollout = msgspec.structs.replace(template, videos=Videos(exterior_1=record))
    (found,) = Screen(ScreenSettings()).run([rollout], Store(path.parent / "store"))
    return found.code if isinstance(found, Rejection) else "read"


def patched(folder: Path, box: bytes, offset: int, layout: str, *values: int) -> Path:
    """A sound video with numbers of its index changed."""
    path = make_video(folder / "x.mp4")
    data = bytearray(path.read_bytes())
    struct.pack_into(layout, data, data.index(box) + offset, *values)
    path.write_bytes(data)
    return path


def pixel(folder: Path, size: tuple[int, int], frames: int, codec: str = "mjpeg") -> Path:
    import av

    path = folder / "x.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=1000)
        stream.width, stream.height, stream.pix_fmt = *size, "yuvj420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((size[1], size[0], 3), np.uint8), format="rgb24")
        picture = picture.reformat(format="yuvj420p")
        picture.pts = 0
        (packet, *_) = list(stream.encode(picture)) + list(stream.encode(None))
        data = bytes(packet)
        for i in range(frames):
            copy = av.Packet(data)
            copy.stream, copy.pts, copy.dts, copy.time_base, copy.is_keyframe = stream, i, i, packet.time_base, True
            out.mux(copy)
    return path


def playlist(folder: Path) -> Path:
    (folder / "x.mp4").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    return folder / "x.mp4"


for name, expects, make in (
    ("index claims 4 billion frames", "MediaError", lambda f: patched(f, b"stsz", 8, ">II", 1, 2**32 - 1)),
    ("durations claim 4 billion frames", "MediaError", lambda f: patched(f, b"stts", 8, ">III", 1, 2**32 - 1, 512)),
    ("a frame lasts for years", "video.too_long", lambda f: patched(f, b"stts", 8, ">III", 1, 12, 2**31 - 1)),
    ("index points past the end", "MediaError", lambda f: patched(f, b"stco", 12, ">I", 2**31)),
    ("index points at itself", "MediaError", lambda f: patched(f, b"stco", 12, ">I", 0)),
    ("box of 16 EiB", "MediaError", lambda f: patched(f, b"moov", -4, ">I4sQ", 1, b"moov", 2**64 - 1)),
    ("box of no size", "read", lambda f: patched(f, b"trak", -4, ">I", 0)),
    ("300,001 frames of 16 pixels", "MediaError", lambda f: pixel(f, (16, 16), 300_001)),
    ("video of 2 GiB", "MediaError", lambda f: sparse(f / "x.mp4", 2 * GIB, b"\0\0\0\x18ftypmp42")),
    (
        "1 GiB of nothing after a head",
        "MediaError",
        lambda f: sparse(f / "x.mp4", GIB, b"\0\0\0\x18ftypmp42" + bytes(12)),
    ),
    ("video is a pipe", "MediaError", lambda f: pipe(f / "x.mp4")),
    ("video is a device", "MediaError", lambda f: link(f / "x.mp4", "/dev/zero")),
    ("video is a playlist of files", "MediaError", playlist),
    (
        "video cut in half",
        "MediaError",
        lambda f: (p := make_video(f / "x.mp4"), p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]), p)[-1],
    ),
):
    case(name, "video", expects, lambda f, m=make: video(m(f)))


# tables, manifests, archives of results -------------------------------------------------------------------------


def predictions(path: Path) -> Any:
    from bad_robot_behavior.benchmark.predictions import check

    defects = check(path)
    return defects[0].rule if defects else "read"


def table(folder: Path, **changes: Any) -> Path:
    columns = {
        "rollout_id": pa.array(["a" * 20]),
        "frame_index": pa.array([[0, 1]]),
        "value": pa.array([[0.1, 0.2]]),
        "model": pa.array(["m"]),
        "parameters": pa.array(["{}"]),
    }
    pq.write_table(pa.table(columns | changes), folder / "x.parquet", store_schema=False)
    return folder / "x.parquet"


def text_bomb(folder: Path) -> Path:
    """A long text that a dictionary repeats: 3 MB that unpack to 20 GB."""
    count = 10_000
    longest = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array(["x" * (2 << 20)]))
    ids = pa.array([f"{i:020x}" for i in range(count)])
    lists = pa.array([[0]] * count)
    return table(folder, rollout_id=ids, frame_index=lists, value=lists.cast(pa.list_(pa.float64())), model=longest,
                 parameters=pa.array(["{}"] * count))  # fmt: skip


for name, expects, make in (
    ("parquet with text for numbers", "predictions.wrong_type", lambda f: table(f, value=pa.array(["0.1"]))),
    ("parquet with structs for text", "predictions.wrong_type", lambda f: table(f, model=pa.array([{"a": 1}]))),
    ("parquet with NaN", "predictions.not_finite", lambda f: table(f, value=pa.array([[0.1, float("nan")]]))),
    (
        "parquet with parameters of 1e999",
        "predictions.bad_parameters",
        lambda f: table(f, parameters=pa.array(['{"a": NaN}'])),
    ),
    (
        "parquet with parameters nested deep",
        "predictions.bad_parameters",
        lambda f: table(f, parameters=pa.array(["[" * 100_000])),
    ),
    ("parquet with lengths that differ", "predictions.lengths_differ", lambda f: table(f, value=pa.array([[0.1]]))),
    ("parquet of one text 10,000 times", "predictions.too_large", text_bomb),
    ("parquet of 1 GiB of nothing", "predictions.unreadable", lambda f: sparse(f / "x.parquet", head=b"PAR1")),
    ("parquet is a pipe", "predictions.unreadable", lambda f: pipe(f / "x.parquet")),
    ("parquet is a device", "predictions.unreadable", lambda f: link(f / "x.parquet", "/dev/zero")),
):
    case(name, "predictions", expects, lambda f, m=make: predictions(m(f)))


def manifest(folder: Path) -> Any:
    from bad_robot_behavior.builder.reading import read_manifest

    return read_manifest(folder)


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder


case("manifest of 1 GiB", "release", "ReleaseError", lambda f: manifest(sparse(f / "release.json").parent))
case("manifest is a pipe", "release", "ReleaseError", lambda f: manifest(pipe(f / "release.json").parent))
case("manifest nested deep", "release", "ReleaseError", lambda f: manifest(written(f, "release.json", "[" * 1_000_000)))
case(
    "manifest with 1e999",
    "release",
    "ReleaseError",
    lambda f: manifest(written(f, "release.json", '{"version": 1e999}')),
)


def inside(folder: Path, name: str) -> Any:
    from bad_robot_behavior.builder.reading import inside as path_in

    return path_in(folder, name)


for name in ("../x", "/etc/passwd", "a/../../x", "a\\..\\x", "a\0b", "out"):
    case(f"row names the file {name!r}", "release", "ReleaseError",
         lambda f, n=name: (link(f / "out", "/etc"), inside(f, f"{n}/passwd" if n == "out" else n)))  # fmt: skip


def results(folder: Path, make: Callable[[Path], object]) -> Any:
    from bad_robot_behavior.benchmark.results_file import check

    path = folder / "x.results.zip"
    make(path)
    return check(path)[1][0].rule


def many(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as out:
        for i in range(1000):
            out.writestr(f"../{i}", b"")


case("results file of 1,000 members", "results", "results.unreadable", lambda f: results(f, many))
case("results file is a pipe", "results", "results.unreadable", lambda f: results(f, pipe))
case("results file of 3 GiB", "results", "results.unreadable", lambda f: results(f, lambda p: sparse(p, 3 * GIB)))


def scene(folder: Path, make: Callable[[Path], object]) -> Any:
    from bad_robot_behavior.curation.sources.synthetic import SyntheticFolder
    from bad_robot_behavior.schema import SourceSettings

    make(folder / "synthetic.json")
    return SyntheticFolder(SourceSettings(name="s", kind="synthetic", path="."), folder).sessions()


case("synthetic.json is a pipe", "synthetic", "SourceError", lambda f: scene(f, pipe))
case("synthetic.json of 1 GiB", "synthetic", "SourceError", lambda f: scene(f, sparse))
case(
    "synthetic.json nested deep", "synthetic", "SourceError", lambda f: scene(f, lambda p: p.write_text("[" * 100_000))
)
case("synthetic.json with 1e999", "synthetic", "SourceError",
     lambda f: scene(f, lambda p: p.write_text(json.dumps({"format": 0}).replace("0", "1e999"))))  # fmt: skip
