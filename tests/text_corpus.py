"""Texts with planted personal data, and texts about robots without any: what the scrubber is measured on.

Templates and values are written by hand or come from `phonenumbers`' example numbers, and are put together by a seeded
generator. None was changed to suit the patterns: a miss stays in the table. text_corpus.yaml holds them.
"""

from __future__ import annotations

import ipaddress
import random
import re
from calendar import month_name
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import phonenumbers
import yaml

STRUCTURED = (
    *("email", "phone", "ipv4", "ipv6", "mac", "url", "host", "path", "serial", "gps", "birthdate"),
    *("handle", "secret"),
)
KINDS = (*STRUCTURED, "name")


class Planted(NamedTuple):
    """A text, the personal part of it, and its kind. `field`: what the text is in a record."""

    kind: str
    value: str
    text: str
    field: str = "feedback"


_DATA: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
GIVEN, FAMILY, _CODES, _DOMAINS, _REGIONS = (
    _DATA[name].split() for name in ("given", "family", "codes", "domains", "regions")
)
CORE = [Planted(**item) for item in _DATA["core"]]
HELD_OUT = {
    name: [
        Planted("name", text.split("{")[1].split("}")[0], text.replace("{", "").replace("}", ""))
        for text in _DATA[name]
    ]
    for name in ("held_out", "second", "third", "fourth", "fifth")
}
"""Texts with names, in the order they were written. The finders were changed after all parts but the last had been
measured."""
ORDINARY: list[str] = _DATA["ordinary"]
"""Sentences in which capitalised words name nobody; the rules were mended on these, and not on those kept apart."""
ORDINARY_APART: list[str] = _DATA["ordinary_apart"]
HELD_OUT_CLEAN: list[str] = _DATA["held_out_clean"]


def _value(kind: str, rng: random.Random) -> str:
    return {
        "email": _email,
        "phone": _phone,
        "ipv4": lambda r: (
            f"{r.choice((10, 192, 172, 130, 141))}.{r.randrange(256)}.{r.randrange(256)}.{r.randrange(1, 255)}"
            + r.choice(("", "", ":8000", ":50051", "/24"))
        ),
        "ipv6": _ipv6,
        "mac": _mac,
        "url": _url,
        "host": _host,
        "path": _path,
        "serial": _serial,
        "gps": _gps,
        "birthdate": _birthdate,
        "handle": lambda r: "@" + _ascii(r.choice(GIVEN)).lower() + r.choice(("", "_lab", "42", "_k")),
        "secret": lambda r: (
            r.choice(("hf_", "sk-proj-", "ghp_", "sk-ant-", "AKIA", "xoxb-"))
            + "".join(
                r.choice("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghkmnpqrstuvwxyz23456789") for _ in range(r.randrange(24, 40))
            )
        ),
    }[kind](rng)


def _ascii(word: str) -> str:
    return "".join(letter for letter in word if letter.isascii() and letter.isalpha()) or "kim"


def _login(rng: random.Random) -> str:
    given, family = _ascii(rng.choice(GIVEN)).lower(), _ascii(rng.choice(FAMILY)).lower()
    return rng.choice((given, f"{given[0]}{family}", f"{given}{rng.randrange(10, 99)}", f"{given}_{family}", family))


def _email(rng: random.Random) -> str:
    given, family = _ascii(rng.choice(GIVEN)), _ascii(rng.choice(FAMILY))
    local = rng.choice((f"{given}.{family}", f"{given[0]}{family}", f"{given}_{rng.randrange(100)}", f"{family}+robot"))
    domain = rng.choice(_DOMAINS)
    if rng.random() < 0.12:
        return f"{local} [at] {domain.replace('.', ' [dot] ')}".lower()
    return f"{local}@{domain}" if rng.random() < 0.3 else f"{local}@{domain}".lower()


def _phone(rng: random.Random) -> str:
    region = rng.choice(_REGIONS)
    kind = rng.choice((phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.MOBILE))
    number = phonenumbers.example_number_for_type(region, kind) or phonenumbers.example_number(region)
    style = rng.choice(("E164", "INTERNATIONAL", "NATIONAL", "RFC3966"))
    return phonenumbers.format_number(number, getattr(phonenumbers.PhoneNumberFormat, style)).removeprefix("tel:")


def _ipv6(rng: random.Random) -> str:
    net = rng.choice(("2001:db8::", "fe80::", "fd12:3456:789a::", "2a02:908:1::"))
    address = ipaddress.IPv6Address(int(ipaddress.IPv6Address(net)) + rng.getrandbits(rng.choice((8, 16, 32, 64))))
    return address.exploded if rng.random() < 0.3 else address.compressed


def _mac(rng: random.Random) -> str:
    digits = f"{rng.getrandbits(48):012x}"
    pairs = [digits[i : i + 2] for i in range(0, 12, 2)]
    style = rng.choice(
        (":".join(pairs), "-".join(pairs), ":".join(pairs).upper(), ".".join((digits[:4], digits[4:8], digits[8:])))
    )
    return style


def _url(rng: random.Random) -> str:
    user, word = _login(rng), rng.choice(_CODES)
    return rng.choice(
        (
            f"https://{user}:{word}{rng.randrange(99)}@files.example.com/run{rng.randrange(99)}",
            f"http://{word}.local/desk/",
            f"rtsp://{user}@10.0.{rng.randrange(9)}.{rng.randrange(99)}/stream1",
            f"https://example.com/share?token={word}{rng.getrandbits(40):x}",
            f"http://{word}-{rng.randrange(9)}.lan:8080/logs",
            f"https://people.example.edu/~{user}/videos/{word}.mp4",
            f"http://localhost:{rng.randrange(3000, 9000)}/viewer",
            f"s3://{user}:{word}@bucket/runs",
        )
    )


def _host(rng: random.Random) -> str:
    word, n = rng.choice(_CODES), rng.randrange(1, 40)
    return rng.choice(
        (
            f"{word}.local",
            f"{word}{n}.lan",
            f"{word}-{n}.corp",
            f"{word}.cs.example.edu",
            f"gpu{n:02d}.cluster.uni-freiburg.de",
            f"{word}.internal",
            f"{word}-nuc.robots.example.org",
        )
    )


def _path(rng: random.Random) -> str:
    user, word = _login(rng), rng.choice(_CODES)
    return rng.choice(
        (
            f"/home/{user}/runs/{word}_{rng.randrange(99)}.mp4",
            f"/Users/{user}/Desktop/{word}",
            f"C:\\Users\\{user}\\Videos\\{word}.mp4",
            f"/mnt/data/home/{user}/ckpt/{word}.pt",
            f"~{user}/{word}/log.txt",
            f"\\\\{word}srv\\share\\{user}",
            f"/media/{user}/{word.upper()}/a.mp4",
            f"/home/{user}",
            f"/scratch/home/{user}/2026-03-02/{word}",
        )
    )


def _serial(rng: random.Random) -> str:
    return rng.choice(
        (
            str(rng.randrange(10_000_000, 99_999_999)),
            f"{rng.randrange(100000, 999999)}-{rng.randrange(1000000, 9999999)}",
            f"f{rng.randrange(1000000, 9999999)}",
            f"SN-{rng.randrange(1000, 9999)}-{rng.randrange(1000, 9999)}",
            f"{rng.randrange(10**11, 10**12)}",
            f"2018{rng.randrange(100, 999)}XR{rng.randrange(10, 99)}",
        )
    )


def _gps(rng: random.Random) -> str:
    def degrees(x: float) -> str:
        return f"{int(x)}°{int(x % 1 * 60):02d}'{int(x * 60 % 1 * 60):02d}\""

    lat, lon = rng.uniform(20, 65) * rng.choice((1, -1)), rng.uniform(5, 170) * rng.choice((1, -1))
    ns, ew = "N" if lat > 0 else "S", "E" if lon > 0 else "W"
    a, b = abs(lat), abs(lon)
    return rng.choice(
        (
            f"{lat:.5f}, {lon:.5f}",
            f"{lat:.6f},{lon:.6f}",
            f"{a:.4f}° {ns}, {b:.4f}° {ew}",
            f"{degrees(a)} {ns} {degrees(b)} {ew}",
            f"{lat:+09.5f}{lon:+010.5f}/",
            f"{a:.4f}{ns} {b:.4f}{ew}",
        )
    )


def _birthdate(rng: random.Random) -> str:
    year, month, day = rng.randrange(1948, 2006), rng.randrange(1, 13), rng.randrange(1, 29)
    name = month_name[month]
    return rng.choice(
        (
            f"{year}-{month:02d}-{day:02d}",
            f"{day:02d}.{month:02d}.{year}",
            f"{month}/{day}/{year}",
            f"{day} {name} {year}",
            f"{name} {day}, {year}",
            f"{name[:3]} {day} {year}",
            f"{day:02d}/{month:02d}/{year % 100:02d}",
        )
    )


def planted(per_kind: int = 45, names: int = 200, seed: int = 0) -> Iterator[Planted]:
    """The hand-written core, then so many texts of each structured kind, then of names."""
    rng = random.Random(seed)
    yield from CORE
    for kind in STRUCTURED:
        for number in range(per_kind):
            value = _value(kind, rng)
            templates = _DATA["templates"][kind]
            yield Planted(kind, value, _around(templates[number % len(templates)].format(v=value), rng))
    templates = _DATA["name_templates"]
    for number in range(names):
        given, family = rng.choice(GIVEN), rng.choice(FAMILY)
        value = rng.choice((given, given, f"{given} {family}", f"{given} {family[0]}."))
        text = templates[number % len(templates)].format(v=value)
        yield Planted("name", value, _around(text, rng))


def _around(text: str, rng: random.Random) -> str:
    return rng.choice(_DATA["before"]) + text + str(rng.choice(_DATA["after"]))


def clean(count: int = 600, seed: int = 1) -> Iterator[str]:
    """Texts about robots in which nothing may be changed: the hand-written core, then so many from templates."""
    rng = random.Random(seed)
    yield from _DATA["clean_core"]
    templates = _DATA["clean_templates"]
    for number in range(count):
        yield templates[number % len(templates)].format(
            robot=rng.choice(_DATA["robots"]),
            tool=rng.choice(_DATA["tools"]),
            thing=rng.choice(_DATA["things"]),
            thing2=rng.choice(_DATA["things"]),
            policy=rng.choice(_DATA["policies"]),
            policy2=rng.choice(_DATA["policies"]),
            slug=rng.choice(("pi0_fast_droid", "paligemma_fast_droid")),
            site=rng.choice(_DATA["sites"]),
            n=rng.randrange(100, 400),
            n1=rng.randrange(400, 1400),
            n2=rng.randrange(10, 99),
            n3=rng.randrange(10, 99),
            n4=rng.randrange(1, 9),
            n5=f"{rng.randrange(10_000, 99_999)}",
            x=f"{rng.uniform(0.5, 20):.1f}",
            y=f"{rng.uniform(1, 30):.2f}",
            q=f"{rng.uniform(-1, 1):.4f}",
            q2=f"{rng.uniform(-1, 1):.4f}",
            q3=f"{rng.uniform(-1, 1):.4f}",
            d=rng.randrange(1, 29),
            fps=rng.choice((10, 15, 30)),
        )


def leaks(item: Planted, scrubbed: str) -> list[str]:
    """The pieces of a planted value, three letters or digits and more, that are still there after scrubbing."""
    rest = item.text.replace(item.value, " ")
    return [piece for piece in re.findall(r"[^\W_]{3,}", item.value) if scrubbed.count(piece) > rest.count(piece)]
