"""The trained network in numpy: what judging needs, without torch.

`model.Network` is what is trained; this is the same arithmetic over the same tensors, in float64, so that the last bits
of a value do not hang on the machine. A test holds the two equal.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Index: TypeAlias = NDArray[np.int64]
Weights: TypeAlias = dict[str, Floats]
"""The tensors of a checkpoint by the names that torch gives them."""

_EPSILON = 1e-5  # of torch's layer norm
_PREFIXES_AT_ONCE = 64
_erf = np.vectorize(math.erf, otypes=[np.float64])


class Dimensions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a network. frame, text: lengths of the vectors it reads; width, heads, layers, inner: of the transformer."""

    frame: int
    text: int
    width: int = 512
    heads: int = 8
    layers: int = 4
    inner: int = 2048
    dropout: float = 0.1


def shapes(d: Dimensions) -> dict[str, tuple[int, ...]]:
    """What tensors a network of those dimensions has."""
    half = d.width // 2
    found: dict[str, tuple[int, ...]] = {"first": (d.width,)}
    found |= _linear("see", d.frame, d.width) | _linear("read", d.text, d.width)
    for number in range(d.layers):
        layer = f"transformer.layers.{number}"
        found |= {f"{layer}.self_attn.in_proj_weight": (3 * d.width, d.width)}
        found |= {f"{layer}.self_attn.in_proj_bias": (3 * d.width,)}
        found |= _linear(f"{layer}.self_attn.out_proj", d.width, d.width)
        found |= _linear(f"{layer}.linear1", d.width, d.inner) | _linear(f"{layer}.linear2", d.inner, d.width)
        found |= {f"{layer}.{norm}.{part}": (d.width,) for norm in ("norm1", "norm2") for part in ("weight", "bias")}
    found |= {f"head.1.{part}": (half,) for part in ("weight", "bias")}
    return found | _linear("head.0", d.width, half) | _linear("head.4", half, 1)


def _linear(name: str, into: int, out: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def judge(weights: Weights, d: Dimensions, frames: Floats, text: Floats, shown: Index) -> Floats:
    """Progress in (0, 1) at the end of each of P sequences of frames, (P,).

    frames: (N, d.frame); text: (d.text,); shown: (P, L), which frames a sequence consists of.
    """
    seen = _through(weights, "see", frames)
    told = _through(weights, "read", text)
    parts = np.split(shown, range(_PREFIXES_AT_ONCE, len(shown), _PREFIXES_AT_ONCE))
    return np.concatenate([_judge(weights, d, seen, told, part) for part in parts])


def thinned(weights: Weights, d: Dimensions, rng: np.random.Generator) -> Weights:
    """The network without a random share `d.dropout` of its units: one that dropout may have trained.

    A unit is left out by what it gives to the next layer, and the others give more for it, as in training; it is left
    out at every frame. Dropout of single attention weights has no unit, and no part in this.
    """
    made = dict(weights)

    def some(units: int) -> Floats:
        return (rng.random(units) >= d.dropout) / (1 - d.dropout)

    for number in range(d.layers):
        layer = f"transformer.layers.{number}"
        attended, inner, out = some(d.width), some(d.inner), some(d.width)
        made[f"{layer}.self_attn.out_proj.weight"] = weights[f"{layer}.self_attn.out_proj.weight"] * attended[:, None]
        made[f"{layer}.self_attn.out_proj.bias"] = weights[f"{layer}.self_attn.out_proj.bias"] * attended
        made[f"{layer}.linear2.weight"] = weights[f"{layer}.linear2.weight"] * inner * out[:, None]
        made[f"{layer}.linear2.bias"] = weights[f"{layer}.linear2.bias"] * out
    made["head.4.weight"] = weights["head.4.weight"] * some(d.width // 2)
    return made


def _judge(weights: Weights, d: Dimensions, seen: Floats, told: Floats, shown: Index) -> Floats:
    x = np.concatenate([np.broadcast_to(told, (len(shown), 1, d.width)), seen[shown]], axis=1)
    x[:, 1] += weights["first"]
    for number in range(d.layers):
        last = number == d.layers - 1  # of the last layer only the last frame is asked for
        x = _layer(weights, f"transformer.layers.{number}", x, d.heads, x[:, -1:] if last else x)
    x = _norm(weights, "head.1", _through(weights, "head.0", x[:, 0]))
    x = x * (1 + _erf(x / math.sqrt(2))) / 2
    return 1 / (1 + np.exp(-_through(weights, "head.4", x)[:, 0]))


def _layer(weights: Weights, name: str, x: Floats, heads: int, asked: Floats) -> Floats:
    """What a layer makes of the positions `asked` (P, Q, width), the last Q of `x` (P, S, width)."""
    width = x.shape[2]
    into, bias = weights[f"{name}.self_attn.in_proj_weight"], weights[f"{name}.self_attn.in_proj_bias"]
    query = _heads(asked @ into[:width].T + bias[:width], heads)
    key, value = (_heads(x @ into[i:][:width].T + bias[i:][:width], heads) for i in (width, 2 * width))
    score = query @ key.transpose(0, 1, 3, 2) / math.sqrt(width // heads)
    places = np.arange(x.shape[1])
    score = np.where(places > places[-asked.shape[1] :, None], -np.inf, score)
    share = np.exp(score - score.max(axis=-1, keepdims=True))
    mixed = (share / share.sum(axis=-1, keepdims=True)) @ value
    mixed = mixed.transpose(0, 2, 1, 3).reshape(asked.shape)
    y = _norm(weights, f"{name}.norm1", asked + _through(weights, f"{name}.self_attn.out_proj", mixed))
    inner = np.maximum(_through(weights, f"{name}.linear1", y), 0)
    return _norm(weights, f"{name}.norm2", y + _through(weights, f"{name}.linear2", inner))


def _heads(x: Floats, heads: int) -> Floats:
    """(P, S, width) as (P, heads, S, width / heads)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)


def _through(weights: Weights, name: str, x: Floats) -> Floats:
    made: Floats = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    return made


def _norm(weights: Weights, name: str, x: Floats) -> Floats:
    centred = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + _EPSILON)
    made: Floats = centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return made
