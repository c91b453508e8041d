"""Finders of personal data that has a form: addresses, numbers, paths, hosts. Robot words have none of these forms.

Every pattern is linear in the length of the text: quantifiers are bounded, and none is nested in another over the same
characters, because feedback comes from outside and may be a megabyte of anything. Patterns look at the text in the
compatibility form that `text.shadow` makes, so full-width characters and zero-width ones hide nothing.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

Found = tuple[int, int]
"""Start and end of what was found, as indices into the text."""

Finder = Callable[[str], Iterator[Found]]

_TLD = (
    "edu|com|org|net|gov|mil|int|io|ai|dev|eu|ch|de|uk|fr|nl|jp|kr|cn|ca|au|se|fi|dk|pl|cz|es|pt|il|sg|hk|tw|nz|br|"
    "example"  # reserved for documentation (RFC 2606)
)
_PRIVATE = "local|lan|internal|intranet|corp|localdomain"
_PRIVATE_HOST = re.compile(rf"(?:^localhost$|\.(?:{_PRIVATE}|home|home\.arpa|private)$)")
_MONTH = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    "nov(?:ember)?|dec(?:ember)?"
)
_DATE = (
    r"(?:\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|"
    rf"(?:the )?\d{{1,2}}(?:st|nd|rd|th)?(?: of)? (?:{_MONTH})\.?,? \d{{4}}|"
    rf"(?:{_MONTH})\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}|(?:in )?(?:19|20)\d{{2}}\b)"
)


def _plain(pattern: str, group: int | str = 0, flags: int = re.IGNORECASE) -> Finder:
    """A finder of all matches of a pattern, or of one group of it."""
    compiled = re.compile(pattern, flags)

    def find(text: str) -> Iterator[Found]:
        for match in compiled.finditer(text):
            yield match.span(group)

    return find


def _any(*finders: Finder) -> Finder:
    def find(text: str) -> Iterator[Found]:
        for finder in finders:
            yield from finder(text)

    return find


def _digits(minimum: int, maximum: int, finder: Finder) -> Finder:
    """What `finder` finds, where it holds that many digits and is not a decimal number."""

    def find(text: str) -> Iterator[Found]:
        for start, end in finder(text):
            found = text[start:end]
            count = sum(character.isdigit() for character in found)
            if minimum <= count <= maximum and not re.fullmatch(r"\+?\d*\.\d+", found):
                yield start, end

    return find


_ADDRESS_CHARACTERS = re.compile(r"[\w.%+'-]")
_DOMAIN = re.compile(r"@([^\W\d_](?:[\w-]{0,62})(?:\.[\w-]{1,63}){0,8})")
_SPELLED_OUT = re.compile(
    r"(?<![\w.])[\w.+-]{1,64}(?: ?[\[({] ?at ?[\])}] ?)[\w-]{1,63}(?:(?: ?[\[({] ?dot ?[\])}] ?|\.)[\w-]{1,63}){1,4}|"
    r"(?<![\w.])[\w.+-]{1,64} at [\w-]{1,63}(?: dot [\w-]{1,63}){1,4}",
    re.IGNORECASE,
)


def _emails(text: str) -> Iterator[Found]:
    """E-mail addresses and logins such as user@host, grown from the @ to both sides; also ones with [at] and [dot]."""
    floor = 0
    for match in _DOMAIN.finditer(text):
        start = match.start()
        while start > floor and _ADDRESS_CHARACTERS.match(text[start - 1]):
            start -= 1
        while start < match.start() and text[start] in ".'-%+":
            start += 1
        domain = match[1].rstrip("-_")
        floor = match.end()
        if start < match.start() and ("." in domain or len(domain) >= 3):
            yield start, match.start(1) + len(domain)
    for match in _SPELLED_OUT.finditer(text):
        yield match.span()


_URL = re.compile(r"(?<![a-z0-9])[a-z][a-z0-9+.-]{1,15}://[^\s<>\"'`{}|\\^]{1,4096}", re.IGNORECASE)
_SECRET_QUERY = re.compile(
    r"(?:^|[?&;#])[^=&;]{0,40}(?:key|token|sig|secret|pass|auth|user|mail|login|name)[^=&;]{0,40}="
)


def urls(text: str) -> Iterator[tuple[int, int, bool]]:
    """Start, end, and whether it is public: http(s) or hf, a public host name, no user, port, home or secret in it."""
    for match in _URL.finditer(text):
        start, end = match.span()
        end -= len(match[0]) - len(match[0].rstrip(".,;:!?)]'"))
        yield start, end, _is_public(text[start:end])


def _is_public(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return False
    if parts.scheme == "hf":
        return "@" not in url
    if parts.scheme not in ("http", "https") or "@" in url or "%40" in url or "~" in parts.path or port is not None:
        return False
    if "." not in host or _PRIVATE_HOST.search(host) or re.fullmatch(r"[\d.]+|.*:.*", host):
        return False
    return not _SECRET_QUERY.search("?" + parts.query.lower())


def _ip4(text: str) -> Iterator[Found]:
    """IPv4 addresses with an optional port or prefix length; not the version numbers of software."""
    for match in re.finditer(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?:/\d{1,2}(?!\d)|:\d{1,5}(?!\d))?(?![\w]|\.\d)", text):
        before = text[max(0, match.start() - 24) : match.start()]
        if re.search(r"(?:\bv|version|release|firmware|driver|build|software)\s?[:=]?\s?$", before, re.IGNORECASE):
            continue
        if all(int(part) <= 255 for part in re.split(r"[/:]", match[0])[0].split(".")):
            yield match.span()


def _ip6(text: str) -> Iterator[Found]:
    """IPv6 addresses: at least two colons, and Python's own parser accepts it."""
    for match in re.finditer(r"(?<![\w:.])[0-9a-fA-F:]{2,39}(?:\.[0-9.]{1,12})?(?:%\w{1,15})?(?![\w:])", text):
        found = match[0].split("%")[0].rstrip(".")
        groups = [group for group in found.split(":") if group]
        if found.count(":") < 2 or not (len(groups) > 2 or any(character.isdigit() for character in found)):
            continue
        try:
            ipaddress.IPv6Address(found)
        except ValueError:
            continue
        yield match.start(), match.start() + len(match[0].rstrip("."))


_NUMBER = r"[-+]?\d{1,3}\.\d{2,10}"
_PAIR = re.compile(
    rf"(?<![\w.-])({_NUMBER})\s?(°?)\s?([NS]?)(?:\b|(?<=°))\s?[,;/ ]\s?(?:lon(?:gitude)?[:= ]{{0,3}})?"
    rf"({_NUMBER})\s?(°?)\s?([EW]?)(?!\w|\.?\d)"
)
_DEGREES_MINUTES = re.compile(
    r"\d{1,3}\s?°\s?\d{1,2}(?:\.\d{1,4})?\s?['′’]\s?(?:\d{1,2}(?:\.\d{1,4})?\s?(?:[\"”]|[′']{2})\s?)?[NSEW]\b|"
    r"[-+]\d{2}\.\d{4,8}[-+]\d{2,3}\.\d{4,8}/"
)
_SAYS_PLACE = re.compile(r"\b(?:gps|lat(?:itude)?|coords?|coordinates|located|location|geo\w{0,12})\b", re.IGNORECASE)


def _gps(text: str) -> Iterator[Found]:
    """Pairs of latitude and longitude: with N/S and E/W, after a word that says so, or with 4 decimals and a latitude
    beyond 10 degrees (positions of a robot are metres, and smaller)."""
    for match in _PAIR.finditer(text):
        first, second = float(match[1]), float(match[4])
        if abs(first) > 90 or abs(second) > 180:
            continue
        said = _SAYS_PLACE.search(text[max(0, match.start() - 24) : match.start()])
        fine = abs(first) >= 10 and all(len(match[i].split(".")[1]) >= 4 for i in (1, 4))
        if said or fine or (match[3] and match[6]):
            yield match.span()
    for match in _DEGREES_MINUTES.finditer(text):
        yield match.span()


_SERIAL_WORD = r"(?:s/n|sn|serial(?:[ _-]?(?:number|num|no\.?))?|ser\. ?no\.?|seriennummer)"
_DEVICE = (
    r"(?:zed(?:[ -]?(?:2i?|mini|m|x))?|realsense(?: d\d{3}\w?)?|d4\d5i?|kinect|camera|cam|webcam|robotiq|gripper|robot|"
    r"franka|panda|arm|control box|device|sensor|badge|employee)"
)
_serial = _any(
    _plain(
        rf"\b{_SERIAL_WORD}\b[\s:#=.-]{{0,4}}(?:is |was )?(?=[a-z-]{{0,30}}\d)"
        r"([a-z0-9](?:[a-z0-9-]{2,30})[a-z0-9])(?!\w)",
        1,
    ),
    _plain(rf"\b{_DEVICE}[\s_]?(?:id|no\.?|number|#)?[\s:#=_(-]{{0,4}}((?:[a-z]{{0,4}}-?)\d{{7,14}})(?![\w.]?\d)", 1),
    _plain(rf"\b{_DEVICE}[\s_](?:id|#)[\s:#=_(-]{{0,4}}([a-z0-9-]{{5,24}})(?!\w)", 1),
)

_CANDIDATE = re.compile(r"(?<![\w.+/-])\(?\d[\d ()/-]{5,17}\d(?!\w|[.,:-]\d)")
_REGIONS = re.findall("..", "USGBDEFRCHATITESNLBESENODKFIPLPTIEAUNZJPKRCNINBRMXSGZATRIL")
_SAYS_PHONE = re.compile(
    r"\b(?:phone|tel|mobile|cell|call|calling|ring|reach|number|text|sms|fax|dial|whatsapp|contact|handy|nummer)\b",
    re.IGNORECASE,
)


def _national(text: str) -> Iterator[Found]:
    """Numbers in a country's own form: a trunk prefix 0, or a word such as "number" up to 24 characters before, and
    valid in a country (libphonenumber's metadata, in the package phonenumbers)."""
    for match in _CANDIDATE.finditer(text):
        digits = sum(character.isdigit() for character in match[0])
        said = _SAYS_PHONE.search(text, max(0, match.start() - 24), match.start())
        if 8 <= digits <= 12 and (said or (match[0][0] == "0" and " " in match[0])) and _is_valid_number(match[0]):
            yield match.span()


@functools.lru_cache(maxsize=4096)
def _is_valid_number(number: str) -> bool:
    import phonenumbers

    for region in _REGIONS:
        with contextlib.suppress(phonenumbers.NumberParseException):
            if phonenumbers.is_valid_number(phonenumbers.parse(number, region)):
                return True
    return False


_CALL = r"phone|tel|telephone|mobile|cell|call|calling|whatsapp|signal|text|sms|fax|reach|ring|dial|handy"
_phone = _any(
    _digits(
        7,
        15,
        _plain(
            rf"\b(?:{_CALL})\b(?: (?:me|us|him|her|them|number|no|phone|at|on|is|via|under)){{0,3}}[\s.:#=(]{{0,4}}"
            r"(\+?\(?\d[\d ().-]{5,20}\d)(?!\w|\.\d)",
            1,
        ),
    ),
    _digits(7, 15, _plain(r"(?<![\w.+])\+\d[\d ().\/-]{5,20}\d(?!\w)")),
    _digits(10, 11, _plain(r"(?<![\w.-])(?:1[-. ])?\(\d{3}\)[-. ]?\d{3}[-. ]\d{4}(?!\w|[.-]\d)")),
    _digits(10, 11, _plain(r"(?<![\w.-])(?:1([-.]))?\d{3}([-.])\d{3}\2\d{4}(?!\w|[.-]\d)")),
    _digits(9, 15, _plain(r"(?<![\w.-])0\d{1,4}(?:[ /-]\d{2,4}){2,5}(?!\w|[.-]\d)")),
    _national,
    _plain(r"\b(?:ext(?:ension)?\.?|durchwahl)[\s:#]{0,3}(\d{3,6})(?!\w|\.\d)", 1),
    _digits(7, 10, _plain(r"(?<![\w.-])(?:\d{3}[-. ])?555[-. ]\d{4}(?!\w|[.-]\d)")),
)

_USERS = r"\b[A-Z]:[\\/]{1,2}(?:Users|Documents and Settings)[\\/]{1,2}"
_path = _any(
    _plain(
        r"(?<![\w.~])(?:/(?:mnt|export|data|net|nfs|var|scratch)){0,2}/(?:home|homes|Users|media|run/media)/"
        r"[^\s/\"'`<>|;,:)]{1,64}(?:/[^\s\"'`<>|;,)]{0,512})?",
        flags=0,
    ),
    _plain(_USERS + r"[^\\/\r\n\"'<>|:*?]{1,64}[\\/][^\s\"'<>|:*?]{0,512}"),
    _plain(_USERS + r"[^\s\\/\"'<>|:*?]{1,64}"),
    _plain(r"(?<![\w/.~])~[a-z][\w.-]{1,31}/[^\s\"'`<>|;,)]{0,512}"),
    _plain(r"\\\\[\w.-]{1,63}\\[^\s\"'<>|:*?]{1,512}"),
)

_host = _any(
    _plain(rf"(?<![\w.@-])(?:[\w-]{{1,63}}\.){{1,6}}(?:{_PRIVATE})(?![a-z0-9-]|\.\w)"),
    _plain(r"(?<![\w.@-])(?:[\w-]{1,63}\.){0,6}[\w-]{0,62}[\d-][\w-]{0,62}\.home(?![\w-]|\.\w)"),
    _plain(rf"(?<![\w.@/-])(?:[a-z][\w-]{{0,62}}\.)(?:[\w-]{{1,63}}\.){{1,5}}(?:{_TLD})(?![\w-]|\.\w)"),
    _plain(r"\b(?:host ?name|host)\b(?: (?:is|was|of|name))?[\s:=]{1,3}([a-z][\w-]{0,61}[\d-][\w-]{0,61})(?!\w)", 1),
    _plain(
        r"\b(?:ssh|ping|workstation|server|machine|desktop|laptop|pc|nuc|computer)[\s:=]{1,3}(?:named |called |into )?"
        r"((?=[\w-]{0,40}\d)[a-z]\w{0,40}-[\w-]{1,40})(?!\w)",
        1,
    ),
)

_BORN = r"born(?: on)?|d\.?o\.?b\.?|date of birth|birth ?date|birthday|geb(?:oren)?\.?"
_birth = _plain(rf"\b(?:{_BORN})(?: (?:is|was|am|on|the))?[\s:=,(]{{1,4}}({_DATE})", 1)

PROTECTED: Finder = _any(
    _plain(r"(?<![0-9a-f])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![0-9a-f])"),
    _plain(r"(?<![0-9a-f])(?:[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32})(?![0-9a-f])"),
    _plain(r"(?<![0-9a-z])(?=[a-f]{0,19}\d)[0-9a-f]{20}(?![0-9a-z])"),
    _plain(
        r"(?<!\d)(?:19|20)\d{2}[-_](?:0\d|1[0-2])[-_](?:[0-2]\d|3[01])"
        r"(?:[T _-]{1,2}[0-2]\d[:_-][0-5]\d(?:[:_-][0-5]\d(?:\.\d{1,9})?)?)?(?!\d)"
    ),
    _plain(r"<(?:[A-Z]{2,12})_\d{1,6}>", flags=0),
)
"""Ids, hashes, timestamps and placeholders: they look like numbers of people and are not."""

BEFORE_PROTECTED: tuple[tuple[str, Finder], ...] = (
    ("SECRET", _plain(r"(?<![\w-])(?:sk-|hf_|ghp_|gho_|github_pat_|xox[abprs]-|AKIA|AIza)[\w-]{16,200}", flags=0)),
    ("BIRTHDATE", _birth),
    (
        "MAC",
        _any(
            _plain(r"(?<![\w:-])[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}(?![\w:-])"),
            _plain(r"(?<![\w.])[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}(?![\w.])"),
        ),
    ),
    ("EMAIL", _emails),
    ("PATH", _path),
    ("HOST", _host),
)
"""Kinds that hold a date or an id now and then, or may stand inside one: found before those are protected."""

STRUCTURED: tuple[tuple[str, Finder], ...] = (
    ("IP", _any(_ip4, _ip6)),
    ("GPS", _gps),
    ("SERIAL", _serial),
    ("PHONE", _phone),
    ("HANDLE", _plain(r"(?<![\w@.])@[a-z][\w]{2,30}(?![\w@])")),
)
"""Kinds of numbers, in order: where two finds overlap, the earlier kind has it."""

CAMERA_SERIAL: Finder = _plain(r"(?<!\d)\d{7,14}(?!\d)")
"""In the name of a camera any long number is its serial: DROID names its ZED cameras by nothing else."""
