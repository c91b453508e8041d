"""Texts with planted personal data, and texts about robots without any: what the scrubber is measured on.

Templates and values are written by hand or come from `phonenumbers`' example numbers, and are put together by a seeded
generator. None was changed to suit the patterns: a miss stays in the table. Every person in here is made up.
"""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Iterator
from typing import NamedTuple

import phonenumbers

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


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


GIVEN = _words(
    "Priya Ngozi Wei Oluwaseun Kateryna Tomasz Søren Aiko Fatima Mehmet Lukas Guillermo Ingrid Yusuf Anneliese "
    "Chidi Marisol Dmitri Siobhán Rashid Ayesha Bjørn Camila Dieter Elif Farhad Giulia Hyun-woo Ibrahim Jadwiga "
    "Kwame Leilani Matteo Nadia Obinna Paolo Qiang Ravi Svetlana Thandiwe Umar Valentina Xiaoming Yuki Zsófia "
    "Amelie Beatriz Cedric Deepika Emre Franziska Gustavo Hassan Ilse Joaquín Karthik Lena Mohammed Nikolai Olga "
    "Pedro Rohan Saoirse Tariq Ursula Vikram Wanjiru Ximena Yasmin Zoltan Anna Benjamin Charlotte Daniel "
    "Elizabeth Felix Georgina Hannah Isaac Julia Kevin Laura Michael Natalie Oliver Patricia Rachel Samuel "
    "Theresa Vincent William Jonathan Stephanie Gregory Sanjay Meera Haruto Sakura Minh Thuy Andrzej Agnieszka "
    "Ludovic Maëlle Henrik Astrid Rasmus Pekka Aino"
)
FAMILY = _words(
    "Raman Okafor Zhang Adeyemi Kovalenko Wiśniewski Lindqvist Tanaka Haddad Yılmaz Brandt Herrera Nyström Demir "
    "Vogel Eze Delgado Petrov O'Sullivan Khan Siddiqui Halvorsen Reyes Schumacher Aydın Mohammadi Rossi Park "
    "Traoré Kowalska Mensah Kahale Bianchi Rahman Okonkwo Ricci Liu Krishnan Ivanova Dlamini Farooq Conti Chen "
    "Sato Szabó Fournier Costa Dubois Iyer Kaya Bauer Almeida Mahmoud Janssen Fuentes Subramanian Hoffmann Salah "
    "Sokolov Popova Santos Mehta Gallagher Aziz Lehmann Nair Kamau Navarro Hosseini Nagy Thompson Carter "
    "Whitfield Ferguson Blackwood Hargreaves Nguyen Tran Kim Lee Wang Müller García Andersson Virtanen"
)

# {v} is the name. Feedback of evaluators, as they write it: in haste, in the middle of things, not always with a cue.
NAME_TEMPLATES = (
    "Policy A was clearly better, {v} watched both runs and agreed with me.",
    "I think {v} bumped the table during B, so the second half should not count.",
    "The second attempt was interrupted because {v} walked through the scene.",
    "Both failed. {v} moved the camera between A and B.",
    "robot stopped when {v} leaned on the e-stop, otherwise A was about to grasp it",
    "As discussed with {v}, we count a drop after the lift as a failure.",
    "{v}'s cup was pushed over by policy B, no damage.",
    "Policy B knocked the bottle down. {v} had to reset the scene twice.",
    "The policy that ran second was better according to {v}.",
    "Evaluation paused at step 120, {v} needed the gripper for another experiment.",
    "Thanks to {v} for lending us the wrist camera mount.",
    "A reached the drawer handle but never closed on it. {v} says the same happened last week.",
    "the arm nearly hit {v} while returning home, so I stopped it at once",
    "B is jittery near the sink; {v} thinks it is the controller gains.",
    "Set up with {v} on Monday, cameras recalibrated before the first rollout.",
    "Policy A spilled the beans on {v}'s keyboard.",
    "scene arranged by {v}, same objects as yesterday",
    "Neither policy moved. I asked {v} and the server was down.",
    "I was distracted by {v} and missed the moment of contact in A.",
    "While {v} held the board steady, policy B wiped about half of the stain.",
    "You can see {v} in the background of the left camera for a few seconds.",
    "Preference given by me and {v} together: A.",
    "Collected at our lab by {v}, third floor.",
    "A pushed the mug off the table and {v} caught it.",
    "Note from {v}: the wrist view is upside down in this session.",
)

_CODES = _words("falcon otter maple quartz breeze atlas orchid pixel marble comet")
_DOMAINS = _words(
    "cs.stanford.edu gmail.com tri.global uni-freiburg.de iitb.ac.in outlook.com robotics.utoronto.ca example.org "
    "kth.se u-tokyo.ac.jp mail.ru qq.com dlr.de riken.jp some-startup.ai proton.me"
)
_MONTHS = _words("January February March April May June July August September October November December")
_REGIONS = _words("US GB DE FR CH IT ES NL SE NO DK FI PL CA AU JP KR CN IN BR MX SG ZA TR IL")

TEMPLATES: dict[str, tuple[str, ...]] = {
    "email": (
        "Policy B froze; full log mailed to {v}, please check.",
        "evaluator {v}, left camera only",
        "({v}) A was slow but got there.",
        "for the calibration file write to {v}.",
        "A=0.4 B=0.1 contact:{v}",
        "<{v}> both attempts hit the bowl",
    ),
    "phone": (
        "If the arm stalls again call {v} and someone will come.",
        "lab phone: {v}",
        "reset needs a key, ring {v} (until six)",
        "my number is {v}, text me before you use the robot",
        "emergency contact {v}. Policy A collided with the shelf.",
        "whatsapp {v} for the raw videos",
    ),
    "ipv4": (
        "policy server at {v} timed out twice in B",
        "websocket {v} refused, so A shows nothing",
        "the NUC ({v}) was rebooted between the runs",
        "ping to {v} was 40 ms, the motion was jerky",
        "ip={v} latency=0.25",
    ),
    "ipv6": (
        "server [{v}] did not answer during B",
        "remote {v} closed the stream at step 88",
        "the camera box is {v} now",
        "bound to {v}, both rollouts are fine",
    ),
    "mac": (
        "the gripper's ethernet adapter {v} drops packets",
        "mac {v}, replaced after the session",
        "dhcp gave a new lease to {v} while A was running",
        "wifi module ({v}) unplugged",
    ),
    "url": (
        "recording is at {v} if you need it",
        "see {v} for the second view",
        "A failed, trace in {v}.",
        "stream {v} froze at 3 s",
    ),
    "host": (
        "ran on {v}, which was busy",
        "policy A was served from {v} today",
        "the log of {v} shows a dropped frame",
        "{v} rebooted in the middle of B",
    ),
    "path": (
        "full video in {v} on the lab machine",
        "crash at {v}, line 41; A never moved",
        "FileNotFoundError: '{v}'",
        "copied to {v} after the run",
        "checkpoint={v}",
    ),
    "serial": (
        "camera serial {v} is the left one",
        "ZED SN {v} lost sync in B",
        "robot serial number: {v}",
        "swapped the RealSense (S/N {v}) before A",
        "gripper serial no. {v}",
        "device id {v} overheated",
    ),
    "gps": (
        "site at {v}",
        "location: {v}, second building",
        "phone video was tagged {v} by mistake",
        "gps {v}",
    ),
    "birthdate": (
        "the visitor in the video, born {v}, signed the form",
        "participant DOB {v}",
        "date of birth: {v}; right-handed",
        "operator was born on {v} and has no robot experience",
    ),
    "handle": (
        "ping {v} on slack if B hangs",
        "reported by {v} yesterday",
        "cc {v} A is better",
    ),
    "secret": (
        "the endpoint needs {v} or it returns 401",
        "export TOKEN={v} before you start policy B",
        "I pasted {v} into the config, please rotate",
    ),
}


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
    name = _MONTHS[month - 1]
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


# Written by hand, one by one: contexts that no template has, and fields other than feedback.
CORE = (
    Planted(
        "email", "marisol.delgado@uni-example.es", "mailto:marisol.delgado@uni-example.es?subject=robot", "feedback"
    ),
    Planted("email", "tariq_aziz@example.net", "annotator=tariq_aziz@example.net;policy=B", "source_ref"),
    Planted("email", "ilse.vogel@example.de", "„ilse.vogel@example.de“ hat B gestoppt", "feedback"),
    Planted("phone", "030 901820", "Tel. 030 901820, Policy B war besser", "feedback"),
    Planted("phone", "06 12 34 56 78", "appelez le 06 12 34 56 78 si le bras se bloque", "feedback"),
    Planted("phone", "+81-3-1234-5678", "+81-3-1234-5678 (front desk) has the spare key", "feedback"),
    Planted("phone", "(650) 253-0000", "front desk (650) 253-0000", "feedback"),
    Planted("ipv4", "10.103.129.17", "zmq tcp://10.103.129.17 hung", "feedback"),
    Planted("ipv6", "fe80::a00:27ff:fe4e:66a1", "eth0 inet6 fe80::a00:27ff:fe4e:66a1 prefixlen 64", "feedback"),
    Planted("mac", "3C-EC-EF-12-AB-90", "NIC 3C-EC-EF-12-AB-90 flapped", "feedback"),
    Planted("host", "zed-box-2.local", "zed-box-2.local_left", "camera"),
    Planted("serial", "24259877", "24259877_left", "camera"),
    Planted("serial", "18026681", "hand_camera_18026681", "camera"),
    Planted("path", "/home/wanjiru/rig", "/home/wanjiru/rig [m]", "name"),
    Planted(
        "path",
        "C:\\Users\\franziska.lehmann\\AppData",
        "opened C:\\Users\\franziska.lehmann\\AppData by mistake",
        "description",
    ),
    Planted("url", "http://admin:admin@192.168.0.12/cgi", "http://admin:admin@192.168.0.12/cgi", "source_ref"),
    Planted("gps", "-33.8688, 151.2093", "EXIF said -33.8688, 151.2093", "feedback"),
    Planted("birthdate", "3/14/88", "subject (b. date of birth 3/14/88) gave consent", "feedback"),
    Planted("handle", "@karthik_r", "thx @karthik_r!", "feedback"),
    Planted("secret", "hf_QmZxVtPLkJhGfDsAqWeRtYuI", "Authorization: Bearer hf_QmZxVtPLkJhGfDsAqWeRtYuI", "parameters"),
    Planted("name", "Ngozi", "sorry, late: Ngozi had the room. A better than B.", "feedback"),
    Planted("name", "Thandiwe", "A: hit the mug. B: hit Thandiwe's laptop (!!)", "feedback"),
    Planted("name", "Joaquín Herrera", "Joaquín Herrera & I preferred B, it was smoother.", "feedback"),
    Planted("name", "Haruto Sato", "operator: Haruto Sato, policy order random", "feedback"),
    Planted("name", "Siobhán", "Siobhán and I both saw A drop the spoon.", "feedback"),
    Planted("name", "Mehta", "Ms Mehta from facilities switched the light off in B.", "feedback"),
    Planted("name", "Agnieszka", "the gripper was fixed (Agnieszka tightened the screws)", "description"),
    Planted("name", "Kwame Mensah", "recorded_by: Kwame Mensah", "feedback"),
    Planted("name", "Leilani", "hands visible in frame are Leilani's", "description"),
    Planted("name", "Petrov", "B seems to run Petrov's old checkpoint", "feedback"),
    Planted("name", "Rasmus", "rasmus says hi. Rasmus also says that A is better", "feedback"),
)


def planted(per_kind: int = 45, names: int = 200, seed: int = 0) -> Iterator[Planted]:
    """The hand-written core, then so many texts of each structured kind, then of names."""
    rng = random.Random(seed)
    yield from CORE
    for kind in STRUCTURED:
        for number in range(per_kind):
            value = _value(kind, rng)
            template = TEMPLATES[kind][number % len(TEMPLATES[kind])]
            yield Planted(kind, value, _around(template.format(v=value), rng))
    for number in range(names):
        given, family = rng.choice(GIVEN), rng.choice(FAMILY)
        value = rng.choice((given, given, f"{given} {family}", f"{given} {family[0]}."))
        text = NAME_TEMPLATES[number % len(NAME_TEMPLATES)].format(v=value)
        yield Planted("name", value, _around(text, rng))


# Written after the finders were done and never used to change them: other names, other contexts. {} marks the name.
HELD_OUT = tuple(
    Planted("name", text.split("{")[1].split("}")[0], text.replace("{", "").replace("}", ""))
    for text in (
        "{Chukwuemeka} and I disagree about A, I would still call it a success.",
        "At second 12 {Zeynep} opens the door and the light changes.",
        "the towel belongs to {Arjun}, please do not reuse it",
        "{Lakshmi}: A better. Me: tie.",
        "Filmed with the phone of {Ji-hoon}, hence the shaky picture.",
        "B went straight for {Linh}'s coffee.",
        "A tried to hand the cup to {Mateusz}, who was sitting there by chance.",
        "Ran this before {Zuzanna} re-mounted the wrist camera.",
        "My lab mate {Ragnhild} judged these two, I only typed.",
        "{Maarten} pressed stop too early in B.",
        "Same bug that {Femke} found in March.",
        "Both fine. {Jean-Baptiste} prefers A though.",
        "Instruction taken from {Rocío}'s list of tasks.",
        "A little help by {Thiago} was needed to free the gripper.",
        "The person in view is {Luciana Prado}, she agreed to it.",
        "scored by {Ahmet}, checked by {Shirin}",
        "It is the third time B hits the lamp, {Reza} is not amused.",
        "policy A grabbed the sleeve of {Noam}, nobody was hurt",
        "{Yael} switched the cameras after this session.",
        "Cup handed over by {Abebe Bekele} at the start.",
        "We ({Kofi} and me) think that A would have made it with more time.",
        "{Tane} said no to a third try.",
        "Not counted: {Sione} kicked the table leg.",
        "Fixed by {Li Wei} before B started.",
        "{Sipho} Ndlovu's setup, our robot.",
        "{Will Turner} watched from the control room.",
        "asked {Mark Jensen} whether to go on, he said yes",
        "{Rose Adeyinka} had calibrated the arm in the morning.",
        "B almost crushed the hand of {Bo Li}.",
        "Gripper pads are new, {Dariusz} printed them.",
        "Operator changed from {Hana} to {Emeka} between the runs.",
        "I, {Tuomas}, rated both.",
        "After lunch {Valérie} took over.",
        "A is the one {Cristóbal} trained.",
        "{Nokuthula} left her bag in the workspace, A ran into it.",
        "The voice you hear is {Giorgos}.",
        "Ref. to the run of {Milica Jovanović} last Tuesday: same cup.",
        "Score lowered after talking to {Anders}.",
        "B, as {Ioana} predicted, drops the lid.",
        "{Bartholomew} typed the instruction with a typo.",
    )
)
HELD_OUT_CLEAN = (
    "Monday's run was worse than Tuesday's; Wednesday looked fine.",
    "Olive oil spilled on the Ikea tray. Basil pot fell over.",
    "Hit the Nespresso machine, Evian bottle rolled away.",
    "The Panda's elbow touched the Kallax shelf.",
    "Sorted Skittles by colour, then M&Ms; Haribo bag untouched.",
    "Lift the Stabilo pen and drop it in the Moleskine box",
    "A opened the Samsung microwave with the Festo gripper.",
    "Velocity limited by Ruckig, planning by cuRobo, IK by TRAC-IK.",
    "Lighting: Philips Hue at 50 %. Background: IKEA curtain.",
    "Neither Octo nor OpenVLA found the Lipton teabag.",
    "Pour the Barilla pasta into the Tefal pot.",
    "Tie. Both stopped above the Duplo train.",
    "Stack the Jenga blocks, then the Catan tiles.",
    "Grabbed Bowl, not Cup. Wrong Object.",
    "B moved Left when it should have moved Right.",
    "Uses the Hungarian algorithm and a Kalman filter with Huber loss.",
    "The Denso arm at Osaka has a Keyence scanner.",
    "Calibrated with a ChArUco board; Zhang's method was used.",
    "The Playmobil pirate lost its hat; the Lego castle stayed.",
    "Moved to Station 4 after the Emergency Stop. Resumed.",
    "Tool: Wiha 5 mm. Fixture: Bosch Rexroth. Table: Thorlabs.",
    "Policy A picked Pepsi instead of Coke.",
    "Arm waved at the Camera twice, then stood still.",
    "Thanks for the extra time. Sorry for the noise. Bye.",
    "Trained in Isaac Gym, finetuned on BridgeData V2, run on WidowX.",
    "Robot says Goal Reached, but the Cup is on the Floor.",
    "A wiped in circles, like Karate Kid; B did not wipe.",
    "Spoon in Bowl: yes. Bowl in Sink: no.",
    "Drawer by Blum, hinge by Hettich, handle by Hafele.",
    "Kitchen towel from Lidl, sponge from Scotch-Brite.",
)

_BEFORE = ("", "", "", "Policy A: 0.4, policy B: 0.1. ", "tie. ", "OK so ", "Run 3. ")
_AFTER = (
    "",
    "",
    "",
    " Overall B is a bit faster.",
    "\nThe drawer stayed closed.",
    " Score 40/100.",
    " (see wrist view)",
)


def _around(text: str, rng: random.Random) -> str:
    return rng.choice(_BEFORE) + text + rng.choice(_AFTER)


_ROBOTS = (
    "Franka Panda", "Franka Research 3", "UR5e", "WidowX 250", "xArm 7", "KUKA iiwa", "Kinova Gen3", "ALOHA", "Sawyer",
    "Google Robot", "Jaco 2", "Spot", "Stretch", "SO-100", "ABB YuMi", "TIAGo", "PR2", "Baxter", "Fetch", "Koch v1.1",
)  # fmt: skip
_TOOLS = (
    "Robotiq 2F-85", "Bosch drill", "Weiss WSG-50", "Schunk EGP 40", "ZED 2i", "RealSense D435i", "Intel D405",
    "Logitech C920", "OnRobot RG2", "GelSight Mini", "Oculus Quest 2", "SpaceMouse", "NVIDIA RTX 4090",
    "Dynamixel XL430",
)  # fmt: skip
_THINGS = (
    "Coke can", "Pringles tube", "Rubik's cube", "LEGO brick", "Lysol bottle", "IKEA bowl", "Cheez-It box",
    "SPAM can", "Expo marker", "Post-it note", "Windex spray", "Heinz ketchup", "Ziploc bag", "Velcro strap",
    "Sharpie", "Kleenex box", "red mug", "blue bowl", "wooden spoon", "yellow sponge", "carrot", "green towel",
    "toy dinosaur", "AA battery", "Campbell's soup", "Jell-O box", "YCB mustard bottle", "Nutella jar", "Allen key",
    "Philips screwdriver",
)  # fmt: skip
_POLICIES = (
    "pi0_fast_droid", "paligemma_vq_droid", "OpenVLA", "Octo", "RT-2-X", "GR00T N1.5", "Diffusion Policy", "ACT",
    "pi0.5", "SmolVLA", "Qwen3-VL-8B", "Gemini Robotics", "GPT-5", "RDT-1B", "CogACT", "ReWiND", "MolmoAct",
    "DreamZero",
)  # fmt: skip
_SITES = (
    "Stanford", "UC Berkeley", "ETH Zürich", "Carnegie Mellon", "Seoul", "Montréal", "Yonsei University", "Toyota",
    "Princeton", "Freiburg", "Georgia Tech", "New York University", "Austin", "Zürich", "Boston Dynamics", "DeepMind",
)  # fmt: skip
CLEAN_TEMPLATES = (
    "The {robot} with the {tool} stopped at step {n} and never reached the {thing}.",
    "Policy A grasped the {thing} at {x} s but dropped it from {y} cm; policy B did nothing.",
    "{policy} pushed the {thing} over. {policy2} was smoother.",
    "A: 0.{n2}, B: 0.{n3}. The {tool} slipped off the {thing} twice.",
    "put the {thing} in the {thing2}",
    "Pick up the {thing}, then place it left of the {thing2}",
    "The wrist {tool} was covered by the {thing} for frames {n} to {n1}.",
    "Same scene as at {site}, but the {thing} stands {y} cm further back.",
    "{robot} base offset was {q}, {q2}, {q3} m; joint 4 stopped at {q} rad.",
    "Firmware {n2}.{n3}.{n4}.{n2} of the {robot}, driver v{n3}.{n2}.{n4}, {fps} fps, gain {x}.",
    "Session 2026-03-{d:02d} 14:{d:02d}:09, {n} of {n1} steps, partial success {n2}/100.",
    "Both policies hit the {thing}. {policy} recovered, {policy2} froze above the {thing2}.",
    "Image size 512x288, {fps} Hz, latency 0.{n2} s, action ({q}, {q2}, {q3}).",
    "The {tool} did not close on the {thing} because the {robot} came in at {n3} degrees.",
    "Episode 0{n}: {policy} opened the drawer {n2} mm and left the {thing} inside.",
    "evaluation_sessions/5f0b7b2b-1234-4678-9abc-def0123{n5}/A_{slug}/left.mp4",
    "Trained on DROID and BridgeData at {site}; see arXiv 2506.{n5}.",
    "Preference: B. Reason: A knocked the {thing} off the table, B only touched it.",
    "{thing} was moved {y} cm, {x} s late. Collision with the {thing2}, force {n3}.{n2} N.",
    "Policy C ({policy}) and Policy D ({policy2}) tie at {n3} %.",
    "The arm went home. Grasp failed. Timeout at {n} steps. Nothing was damaged.",
    "Serial chain of 7 joints; camera {n2} on the left, camera {n3} on the wrist.",
    "Task {n4}: wipe the table with the {thing}. May take up to {n1} steps.",
    "{robot} hit its joint limit, {tool} still open, {thing} untouched.",
    "commit 4f2a9c1, seed {n}, checkpoint step {n}000, batch {n3}x{n2}, lr 3e-5",
)
CLEAN_CORE = (
    "The Franka arm with the Bosch gripper stopped at 0173 steps.",
    "Rose-coloured cup, olive lid, violet sponge: A mixed up all three.",
    "Will the drawer close? May be, mark it as a failure. Hope so.",
    "Charlie and Bravo bins were swapped; the Alpha bin is empty.",
    "Robot stops before Tuesday's bowl; repeat on Friday, April 3.",
    "Jenga tower fell. Policy B never touched it.",
    "Chess: white Queen taken instead of the King.",
    "Dora the toy cat and the Mario figure stayed where they were.",
    "Phillips screw, Allen bolt, Stanley knife, Dremel: none was grasped.",
    "Newton metres, Hertz, Watt, Kelvin: the units are in the log.",
    "The Jacobian is singular near the Cartesian limit; Gaussian noise 0.02.",
    "Kalman filter off, Bayesian optimiser on, Euler angles wrapped.",
    "Adam with lr 1e-4, Xavier init, Markov assumption broken.",
    "A Petri dish, a Bunsen burner and an Erlenmeyer flask on the bench.",
    "Teddy bear left, Barbie right, Pikachu behind the box.",
    "Bowl in Apple green, cup in Berkeley blue.",
    "Good run. Great run! Bad run? Terrible run...",
    "Start State: drawer open. Goal State: drawer closed.",
    "Left Camera lost. Right Camera fine. Wrist Camera blurred.",
    "OMPL, MoveIt and Pinocchio all report no plan.",
    "Robot A on Table 2, Robot B on Table 3. Both idle.",
    "Kitchen: Sink, Stove, Fridge and Microwave are in view.",
    "English instruction, German label, Swiss plug, French press.",
    "Put the Santa hat on the Buddha statue.",
    "Isaac Sim and Gazebo agree, MuJoCo does not.",
    "Policy B is better than Policy A because it at least approached the object.",
    "Grasped. Lifted. Dropped. Retried. Failed.",
    "Success: false, Score: 20, Duration: 399, Preference: TIE",
    "Max torque 87 Nm, Min clearance 4 mm, Mean error 0.8.",
    "Drake, Pinocchio and Bullet were compared in an earlier session.",
)


def clean(count: int = 600, seed: int = 1) -> Iterator[str]:
    """Texts about robots in which nothing may be changed: the hand-written core, then so many from templates."""
    rng = random.Random(seed)
    yield from CLEAN_CORE
    for number in range(count):
        yield CLEAN_TEMPLATES[number % len(CLEAN_TEMPLATES)].format(
            robot=rng.choice(_ROBOTS),
            tool=rng.choice(_TOOLS),
            thing=rng.choice(_THINGS),
            thing2=rng.choice(_THINGS),
            policy=rng.choice(_POLICIES),
            policy2=rng.choice(_POLICIES),
            slug=rng.choice(("pi0_fast_droid", "paligemma_fast_droid")),
            site=rng.choice(_SITES),
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
