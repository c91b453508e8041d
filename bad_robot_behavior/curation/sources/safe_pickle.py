"""Read the pickle inside a numpy object array without running what is in it.

A small interpreter of our own: it knows the opcodes for plain data and three constructors of numpy (array, scalar,
dtype), which it builds itself after checking every size. It looks up no name and calls nothing that the file names, and
no foreign byte reaches the pickle module. The opcodes are those of PEP 307, PEP 3154 and PEP 574 (protocols 2 to 5)
that numpy 1 and 2 write.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from bad_robot_behavior.curation.refusal import Refusal
from bad_robot_behavior.schema import rule

UNREADABLE = rule(
    "npz.unreadable",
    "An .npz file must be a whole zip archive of .npy members.",
    cure="Record or copy the file again.",
)
FOREIGN_OBJECT = rule(
    "npz.foreign_object",
    "An .npz file may hold numpy arrays and scalars, lists, tuples, dicts, strings, numbers, booleans and None only.",
    cure="Save plain arrays: np.savez_compressed(path, state=..., action=...). Never open it with allow_pickle.",
)
TOO_LARGE = rule(
    "npz.too_large",
    "An .npz file must keep within the limits on size, count and nesting.",
    cure="Save the steps of one rollout a file, as flat arrays.",
)

_NUMBER = re.compile(r"^(?:f[248]|[iu][1248]|b1)$")
_WIDE = re.compile(r"^(?:U|S)\d{1,6}$")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a stranger's file is read. 400 steps of RoboArena unpack to about 0.2 MB and 40,000 opcodes."""

    size_bytes: int = 128 * 2**20  # of all members, unpacked
    members: int = 64
    opcodes: int = 2_000_000
    values: int = 2_000_000  # in one object array, after shared references are followed
    depth: int = 16


def load_object_array(body: bytes, limits: Limits) -> Any:
    """What a pickled object array holds: a list for one dimension, the one value for none. Raises Refusal."""
    value = _Pickle(body, limits).load()
    if type(value) is not _Array:
        raise Refusal(UNREADABLE, "an object array does not hold an array")
    return _Resolver(limits).resolve(value, 0)


def checked_shape(shape: Any) -> tuple[int, ...]:
    if type(shape) is not tuple or len(shape) > 8 or not all(type(n) is int and 0 <= n < 2**48 for n in shape):
        raise Refusal(UNREADABLE, "an array has no valid shape")
    return shape


def array_from_bytes(raw: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], fortran: bool) -> np.ndarray[Any, Any]:
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise Refusal(UNREADABLE, f"an array of shape {shape} does not have its {len(raw):,} bytes")
    if not raw:
        if math.prod(shape) > 1:  # of texts without a letter; numpy would make room for one letter each
            raise Refusal(UNREADABLE, f"an array of shape {shape} has no bytes")
        try:
            return np.zeros(shape, dtype)
        except ValueError as error:  # a side of 0 beside others that are beyond all numbers
            raise Refusal(UNREADABLE, f"an array has the shape {shape}") from error
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


class _Dtype:
    """Stands for numpy.dtype(...) while a pickle is read."""

    def __init__(self, code: Any) -> None:
        if type(code) is not str or not (code in ("O", "O8", "O4") or _NUMBER.match(code) or _WIDE.match(code)):
            raise Refusal(FOREIGN_OBJECT, "an array has a dtype other than numbers, text and objects")
        self.code = code
        self.order = "="

    def build(self, state: Any) -> None:
        # (version, byte order, subdtype, names, fields, itemsize, alignment, flags); 2 to 4 are None for plain types
        if type(state) is not tuple or len(state) != 8 or state[1] not in ("<", ">", "|", "="):
            raise Refusal(UNREADABLE, "a dtype has no valid state")
        if any(part is not None for part in state[2:5]):
            raise Refusal(FOREIGN_OBJECT, "an array has a structured dtype")
        self.order = state[1]

    @property
    def is_object(self) -> bool:
        return self.code.startswith("O")

    def real(self) -> np.dtype[Any]:
        return np.dtype(self.code if self.order == "|" else self.order + self.code)


class _Array:
    """Stands for an array while a pickle is read: `real` for numbers and text, `items` for objects."""

    def __init__(self) -> None:
        self.real: np.ndarray[Any, Any] | None = None
        self.items: list[Any] | None = None
        self.shape: tuple[int, ...] = ()

    def build(self, state: Any) -> None:
        if type(state) is not tuple or len(state) != 5 or self.real is not None or self.items is not None:
            raise Refusal(UNREADABLE, "an array has no valid state")
        _, shape, dtype, fortran, content = state
        self.fill(checked_shape(shape), dtype, bool(fortran), content)

    def fill(self, shape: tuple[int, ...], dtype: Any, fortran: bool, content: Any) -> None:
        if type(dtype) is not _Dtype:
            raise Refusal(UNREADABLE, "an array has no dtype")
        self.shape = shape
        if dtype.is_object:
            if type(content) is not list or len(content) != math.prod(shape) or len(shape) > 1:
                raise Refusal(UNREADABLE, "an object array is not a list of its length")
            self.items = content
        elif type(content) is bytes:
            self.real = array_from_bytes(content, dtype.real(), shape, fortran)
        else:
            raise Refusal(UNREADABLE, "an array has no bytes")


class _Constructor:
    """A name in a pickle that we know. It is compared by identity and never called by name."""

    def __init__(self, make: Callable[[tuple[Any, ...]], Any]) -> None:
        self.make = make


def _make_array(args: tuple[Any, ...]) -> _Array:
    if len(args) != 3 or args[0] is not _NDARRAY:
        raise Refusal(FOREIGN_OBJECT, "an array is of a subclass of numpy.ndarray")
    return _Array()


def _make_from_buffer(args: tuple[Any, ...]) -> _Array:
    if len(args) != 4 or args[3] not in ("C", "F"):
        raise Refusal(UNREADABLE, "an array has no valid state")
    array = _Array()
    array.fill(checked_shape(args[2]), args[1], args[3] == "F", args[0])
    return array


def _make_dtype(args: tuple[Any, ...]) -> _Dtype:
    if not 1 <= len(args) <= 3:
        raise Refusal(UNREADABLE, "a dtype has no valid arguments")
    return _Dtype(args[0])


def _make_scalar(args: tuple[Any, ...]) -> Any:
    if len(args) != 2 or type(args[0]) is not _Dtype or type(args[1]) is not bytes or args[0].is_object:
        raise Refusal(FOREIGN_OBJECT, "a numpy scalar is not a number or text")
    return array_from_bytes(args[1], args[0].real(), (1,), False)[0]


def _refuse(args: tuple[Any, ...]) -> Any:
    raise Refusal(FOREIGN_OBJECT, "numpy.ndarray is called directly")


_NDARRAY = _Constructor(_refuse)
_CONSTRUCTORS: dict[tuple[str, str], _Constructor] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Constructor(_make_dtype),
}
for _core in ("numpy.core", "numpy._core"):  # the name before numpy 2, and since
    _CONSTRUCTORS[f"{_core}.multiarray", "_reconstruct"] = _Constructor(_make_array)
    _CONSTRUCTORS[f"{_core}.multiarray", "scalar"] = _Constructor(_make_scalar)
    _CONSTRUCTORS[f"{_core}.numeric", "_frombuffer"] = _Constructor(_make_from_buffer)


class _Resolver:
    """Turns what stands for arrays into arrays, and holds the result to the limits on count and depth.

    Shared references are followed each time, so that a small file cannot stand for an endless structure.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.count = 0

    def resolve(self, value: Any, depth: int) -> Any:
        self.count += 1
        if self.count > self.limits.values or depth > self.limits.depth:
            most = f"{self.limits.values:,} values or {self.limits.depth} levels of nesting"
            raise Refusal(TOO_LARGE, f"more than {most}")
        if value is None or isinstance(value, (bool, int, float, str, np.generic)):
            return value
        if type(value) is _Array:
            if value.real is not None:
                return value.real
            if value.items is None:
                raise Refusal(UNREADABLE, "an array is never filled")
            items = [self.resolve(item, depth + 1) for item in value.items]
            return items if value.shape else items[0]
        if type(value) is list:
            return [self.resolve(item, depth + 1) for item in value]
        if type(value) is tuple:
            return tuple(self.resolve(item, depth + 1) for item in value)
        if type(value) is dict:
            return {key: self.resolve(item, depth + 1) for key, item in value.items()}
        raise Refusal(FOREIGN_OBJECT, f"a value is of type {type(value).__name__.strip('_').lower()}")


class _Pickle:
    """The interpreter: a stack, a memo, and one method for each opcode."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self.data = data
        self.limits = limits
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        try:
            return self._run()
        except (IndexError, KeyError, struct.error) as error:  # an empty stack, an unset memo, a cut number
            raise Refusal(UNREADABLE, "an object array is cut short or garbled") from error
        except (ValueError, TypeError, OverflowError) as error:  # text that is not UTF-8, numbers out of range
            raise Refusal(UNREADABLE, "an object array holds a value that cannot be read") from error

    def _run(self) -> Any:
        data, table = self.data, _OPCODES
        for _ in range(self.limits.opcodes):
            code = data[self.at]
            self.at += 1
            if code == _STOP:
                return self.stack.pop()
            step = table.get(code)
            if step is None:
                raise Refusal(FOREIGN_OBJECT, f"the pickle opcode {code:#04x} is not one of plain data")
            step(self)
        raise Refusal(TOO_LARGE, f"an object array has more than {self.limits.opcodes:,} opcodes")

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise Refusal(UNREADABLE, "an object array is cut short")
        part = self.data[self.at : end]
        self.at = end
        return part

    def number(self, layout: struct.Struct) -> Any:
        (value,) = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return value

    def pop_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise Refusal(UNREADABLE, "an object array appends to what is no list")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise Refusal(UNREADABLE, "an object array sets items of what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str:  # also keeps foreign objects from being hashed and compared
                raise Refusal(FOREIGN_OBJECT, "a dict has a key that is not text")
            target[key] = value

    def tuple_of(self, size: int) -> None:
        if len(self.stack) < size:
            raise Refusal(UNREADABLE, "an object array is garbled")
        items = tuple(self.stack[len(self.stack) - size :])
        del self.stack[len(self.stack) - size :]
        self.stack.append(items)

    def constructor(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str or (module, name) not in _CONSTRUCTORS:
            wanted = re.sub(r"[^\w.]", "?", f"{str(module)[:40]}.{str(name)[:40]}", flags=re.ASCII)
            raise Refusal(FOREIGN_OBJECT, f"it asks for {wanted}, which is not plain data")
        self.stack.append(_CONSTRUCTORS[module, name])

    def line(self) -> str:
        end = self.data.index(b"\n", self.at, self.at + 256)
        text = self.data[self.at : end].decode("ascii")
        self.at = end + 1
        return text

    def reduce(self) -> None:
        args, made = self.stack.pop(), self.stack.pop()
        if type(made) is not _Constructor or type(args) is not tuple:
            raise Refusal(FOREIGN_OBJECT, "it calls something other than a constructor of numpy")
        self.stack.append(made.make(args))

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is not _Array and type(target) is not _Dtype:
            raise Refusal(FOREIGN_OBJECT, "it sets the state of something other than an array")
        target.build(state)

    def memoize(self, index: int) -> None:
        self.memo[index] = self.stack[-1]


_STOP = ord(".")
_U1, _U2, _U4, _U8 = struct.Struct("<B"), struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")
_I4, _F8 = struct.Struct("<i"), struct.Struct(">d")

_OPCODES: dict[int, Callable[[_Pickle], Any]] = {
    0x80: lambda p: p.take(1),  # PROTO
    0x95: lambda p: p.take(8),  # FRAME
    ord("("): lambda p: p.marks.append(len(p.stack)),
    ord("0"): lambda p: p.stack.pop(),
    ord("N"): lambda p: p.stack.append(None),
    0x88: lambda p: p.stack.append(True),
    0x89: lambda p: p.stack.append(False),
    ord("J"): lambda p: p.stack.append(p.number(_I4)),
    ord("K"): lambda p: p.stack.append(p.number(_U1)),
    ord("M"): lambda p: p.stack.append(p.number(_U2)),
    0x8A: lambda p: p.stack.append(int.from_bytes(p.take(p.number(_U1)), "little", signed=True)),  # LONG1
    ord("G"): lambda p: p.stack.append(p.number(_F8)),
    ord("X"): lambda p: p.stack.append(p.take(p.number(_U4)).decode("utf-8")),
    0x8C: lambda p: p.stack.append(p.take(p.number(_U1)).decode("utf-8")),  # SHORT_BINUNICODE
    0x8D: lambda p: p.stack.append(p.take(p.number(_U8)).decode("utf-8")),  # BINUNICODE8
    ord("B"): lambda p: p.stack.append(p.take(p.number(_U4))),
    ord("C"): lambda p: p.stack.append(p.take(p.number(_U1))),
    0x8E: lambda p: p.stack.append(p.take(p.number(_U8))),  # BINBYTES8
    0x96: lambda p: p.stack.append(p.take(p.number(_U8))),  # BYTEARRAY8
    ord("]"): lambda p: p.stack.append([]),
    ord(")"): lambda p: p.stack.append(()),
    ord("}"): lambda p: p.stack.append({}),
    ord("a"): lambda p: p.append([p.stack.pop()]),
    ord("e"): lambda p: p.append(p.pop_mark()),
    ord("s"): lambda p: p.set_items([p.stack.pop(-2), p.stack.pop()]),
    ord("u"): lambda p: p.set_items(p.pop_mark()),
    ord("t"): lambda p: p.stack.append(tuple(p.pop_mark())),
    0x85: lambda p: p.tuple_of(1),
    0x86: lambda p: p.tuple_of(2),
    0x87: lambda p: p.tuple_of(3),
    ord("h"): lambda p: p.stack.append(p.memo[p.number(_U1)]),
    ord("j"): lambda p: p.stack.append(p.memo[p.number(_U4)]),
    ord("q"): lambda p: p.memoize(p.number(_U1)),
    ord("r"): lambda p: p.memoize(p.number(_U4)),
    0x94: lambda p: p.memoize(len(p.memo)),
    ord("c"): lambda p: p.constructor(p.line(), p.line()),
    0x93: lambda p: p.constructor(p.stack.pop(-2), p.stack.pop()),  # STACK_GLOBAL
    ord("R"): lambda p: p.reduce(),
    ord("b"): lambda p: p.build(),
}
