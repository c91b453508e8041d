"""Object arrays of strangers: what numpy writes is read, and nothing in a file is ever run."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bad_robot_behavior.curation.sources.safe_npz import Limits, NpzError, read_npz


def steps(count: int = 5) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {
            "cartesian_position": rng.normal(size=6),
            "joint_position": rng.normal(size=7).astype(np.float32),
            "gripper_position": np.float64(rng.random()),
            "action": rng.normal(size=8).tolist(),
            "note": "été",
            "flags": (True, None, 7, -3, 2**40, 70_000, 0.5),
            "image": np.asfortranarray(rng.integers(0, 255, (3, 4), dtype=np.uint8)),
            "names": np.array(["a", "bcd"]),
            "big_endian": np.arange(3, dtype=">i4"),
            "nested": {"list": [np.int32(1), [np.bool_(True)]], "objects": np.array([{"x": 1}, [2]], dtype=object)},
        }
        for _ in range(count)
    ]


def object_npz(path: Path, pickled: bytes, shape: tuple[int, ...] = (1,)) -> Path:
    """An .npz whose member `data` is an object array with this pickle."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": shape})
    return archive(path, {"data.npy": file.getvalue() + pickled})


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as out:
        for name, data in members.items():
            out.writestr(name, data)
    return path


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, np.ndarray) and expected.dtype == object:
        expected = list(expected)
    if isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found, expected, strict=True)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert type(found) is type(expected) and len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert type(found) is type(expected) and found == expected


def test_what_the_client_writes_is_read(tmp_path: Path) -> None:
    data = steps()
    np.savez_compressed(tmp_path / "x.npz", data=data)
    assert_same(read_npz(tmp_path / "x.npz"), {"data": data})


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_that_numpy_used(tmp_path: Path, protocol: int) -> None:
    data = steps(2)
    if protocol == 2:  # protocol 2 has no opcode for bytes and calls _codecs.encode for them, so no arrays either
        data = [{"action": [0.5, 1.0], "note": "x"}]
        with pytest.raises(NpzError, match=r"_codecs\.encode"):
            read_npz(object_npz(tmp_path / "x.npz", pickle.dumps(np.array(data, dtype=object), protocol=2)))
        return
    pickled = pickle.dumps(np.array(data, dtype=object), protocol=protocol)
    assert_same(read_npz(object_npz(tmp_path / "x.npz", pickled, (2,))), {"data": data})


def test_files_of_numpy_1_and_2(tmp_path: Path) -> None:
    data = steps(2)
    new = pickle.dumps(np.array(data, dtype=object), protocol=3)  # protocol 3 names modules in lines of text
    assert b"numpy._core.multiarray\n" in new
    old = new.replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n")
    assert_same(read_npz(object_npz(tmp_path / "new.npz", new, (2,))), {"data": data})
    assert_same(read_npz(object_npz(tmp_path / "old.npz", old, (2,))), {"data": data})


def test_numeric_and_text_members_and_no_dimension(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.arange(6.0).reshape(2, 3), t=np.array("text"), e=np.zeros((0, 3)), d={"k": 1})
    found = read_npz(tmp_path / "x.npz")
    np.testing.assert_array_equal(found["a"], np.arange(6.0).reshape(2, 3))
    assert str(found["t"]) == "text"
    assert found["e"].shape == (0, 3)
    assert found["d"] == {"k": 1}


class _Call:
    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> Any:
        return self.function, self.args


def hostile(marker: Path) -> dict[str, Any]:
    """Objects that write `marker` when they are unpickled."""
    code = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": _Call(os.system, f"touch '{marker}'"),
        "eval": _Call(eval, code),
        "exec": _Call(exec, code),
        "getattr": _Call(getattr, "text", "upper"),
        "runstring": _Call(np.testing.runstring, code, {}),
        "fromfile": _Call(np.fromfile, "/etc/hostname", "u1"),
        "memmap": _Call(np.memmap, str(marker), "u1", "w+", 0, 8),
        "nested": [{"action": [1.0, _Call(os.system, f"touch '{marker}'")]}],
        "as a key": {_Call(os.system, f"touch '{marker}'"): 1},
        "set": {1, 2},
        "class": Path,
        "complex array": np.array([1j]),
        "structured": np.zeros(2, dtype=[("a", "f8")]),
        "datetime": np.array(["2020-01-01"], dtype="M8[D]"),
        "subclass": np.ma.masked_array([1.0], [True]),
    }


@pytest.mark.rule("npz.foreign_object")
@pytest.mark.parametrize("name", list(hostile(Path("x"))))
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_code_is_named_and_not_run(tmp_path: Path, name: str, protocol: int) -> None:
    marker = tmp_path / "ran"
    array = np.empty(1, dtype=object)
    array[0] = hostile(marker)[name]
    path = object_npz(tmp_path / "x.npz", pickle.dumps(array, protocol=protocol))
    with pytest.raises(NpzError) as caught:
        read_npz(path)
    assert caught.value.rule.id == "npz.foreign_object"
    assert not marker.exists()


def test_the_hostile_files_do_run_under_numpy(tmp_path: Path) -> None:
    # Without this the test above could pass on files that are harmless.
    marker = tmp_path / "ran"
    array = np.empty(1, dtype=object)
    array[0] = hostile(marker)["nested"]
    path = object_npz(tmp_path / "x.npz", pickle.dumps(array, protocol=4))
    with np.load(path, allow_pickle=True) as file:
        _ = file["data"]
    assert marker.exists()


@pytest.mark.parametrize(
    "pickled",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nX\x04\x00\x00\x00trueo.",
        b"\x80\x04\x82\x01.",
        b"Pid\n.",
        b"\x80\x02cnumpy\nndarray\n)\x81.",
        b"\x80\x02cnumpy\nndarray\n)R.",
        b"\x80\x02}cnumpy\ndtype\nb.",
    ],
)
def test_opcodes_that_make_objects(tmp_path: Path, pickled: bytes) -> None:
    with pytest.raises(NpzError) as caught:
        read_npz(object_npz(tmp_path / "x.npz", pickled))
    assert caught.value.rule.id == "npz.foreign_object"


@pytest.mark.rule("npz.too_large")
@pytest.mark.parametrize("name", ["values", "opcodes", "depth", "cycle", "members", "bytes", "unpacked"])
def test_limits(tmp_path: Path, name: str) -> None:
    limits = Limits(size_bytes=200_000, members=3, opcodes=5_000, values=1_000, depth=6)
    path = tmp_path / "x.npz"
    array = np.empty(1, dtype=object)
    if name == "values":
        value: Any = []
        for _ in range(5):  # five levels of ten references each: 100,000 values in a few hundred bytes
            value = [value] * 10
        array[0] = value
        np.savez(path, data=array)
    elif name == "opcodes":
        array[0] = [float(i) for i in range(6_000)]
        np.savez(path, data=array)
    elif name == "depth":
        for _ in range(20):
            array[0] = [array[0]]
        np.savez(path, data=array)
    elif name == "cycle":
        array[0] = []
        array[0].append(array[0])
        np.savez(path, data=array)
    elif name == "members":
        np.savez(path, a=1, b=2, c=3, d=4)
    elif name == "bytes":
        path.write_bytes(bytes(200_001))
    else:
        np.savez_compressed(path, data=np.zeros(10**6))
        assert path.stat().st_size < 10_000
    with pytest.raises(NpzError) as caught:
        read_npz(path, limits)
    assert caught.value.rule.id == "npz.too_large"


def test_lengths_in_a_file_are_not_believed(tmp_path: Path) -> None:
    huge = struct.pack("<Q", 2**62)
    for pickled in (b"\x8e" + huge, b"\x8d" + huge, b"\x96" + huge, b"Nr\xff\xff\xff\xff."):
        with pytest.raises(NpzError):
            read_npz(object_npz(tmp_path / "x.npz", pickled))
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)})
    with pytest.raises(NpzError) as caught:
        read_npz(archive(tmp_path / "y.npz", {"data.npy": file.getvalue()}))
    assert caught.value.rule.id == "npz.unreadable"


@pytest.mark.parametrize(
    ("descr", "shape", "body"),
    [("|f1", (1,), b"x"), ("<U0", (2**40,), b""), ("<f8", (0, 2**47, 2**47), b""), ("<f3", (1,), b"xxx")],
)
def test_headers_that_numpy_trips_over(tmp_path: Path, descr: str, shape: tuple[int, ...], body: bytes) -> None:
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body
    with pytest.raises(NpzError):
        read_npz(archive(tmp_path / "x.npz", {"data.npy": member}))


def test_texts_without_a_letter_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", data=np.array([np.str_(""), np.bytes_(b"")], dtype=object), e=np.zeros((0, 3)))
    assert read_npz(tmp_path / "x.npz")["data"] == ["", b""]
    assert read_npz(tmp_path / "x.npz")["e"].shape == (0, 3)


@pytest.mark.rule("npz.unreadable")
@pytest.mark.parametrize("name", ["text", "cut", "empty", "missing", "folder", "not npy", "header", "twice", "packed"])
def test_broken_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.npz"
    if name == "text":
        path.write_text("not a zip")
    elif name == "empty":
        path.touch()
    elif name == "folder":
        path.mkdir()
    elif name == "not npy":
        archive(path, {"run.sh": b"true"})
    elif name == "header":
        archive(path, {"data.npy": b"\x93NUMPY\x01\x00\x10\x00{'descr': __import"})
    elif name == "twice":
        with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "w") as out:
            out.writestr("data.npy", b"1")
            out.writestr("data.npy", b"2")
    elif name == "packed":
        archive(path, {"data.npy": b"x"}, zipfile.ZIP_LZMA)
    elif name == "cut":
        np.savez_compressed(path, data=steps())
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(NpzError) as caught:
        read_npz(path)
    assert caught.value.rule.id == "npz.unreadable"
    assert str(path) in str(caught.value)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_garbled_pickles_give_a_named_error_or_a_value(tmp_path: Path, data: st.DataObject) -> None:
    good = pickle.dumps(np.array(steps(1), dtype=object), protocol=4)
    at = data.draw(st.integers(0, len(good) - 1))
    noise = data.draw(st.binary(max_size=6))
    path = object_npz(tmp_path / "x.npz", good[:at] + noise + good[at + data.draw(st.integers(0, 6)) :])
    try:
        read_npz(path, Limits(opcodes=10_000, values=10_000))
    except NpzError as error:
        assert error.rule.id.startswith("npz.")


def test_the_opcodes_cover_what_numpy_writes() -> None:
    from bad_robot_behavior.curation.sources.safe_pickle import _OPCODES, _STOP

    for protocol in (3, 4, 5):
        used = {
            ord(op.code) for op, _, _ in pickletools.genops(pickle.dumps(np.array(steps(), dtype=object), protocol))
        }
        assert used <= {*_OPCODES, _STOP}
