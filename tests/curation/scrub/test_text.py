"""Personal data in text: what must be found, what must stay, and that no text takes long."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bad_robot_behavior.curation.scrub.text import SessionText, scrub_text, shadow

FOUND = [
    # (text, the personal part, kind)
    ("write to priya.raman@robotics.example.edu please", "priya.raman@robotics.example.edu", "EMAIL"),
    ("mail: J.O'Neil+robots@mail.example.co.uk.", "J.O'Neil+robots@mail.example.co.uk", "EMAIL"),
    ("ask jane [at] example [dot] edu", "jane [at] example [dot] edu", "EMAIL"),
    ("ask jane(at)example.edu now", "jane(at)example.edu", "EMAIL"),
    ("it is jane.doe at example dot edu", "jane.doe at example dot edu", "EMAIL"),
    ("priya\uff20example\u3002edu saw it", "priya\uff20example\u3002edu", "EMAIL"),
    ("pri\u200bya@exam\u00adple.edu saw it", "pri\u200bya@exam\u00adple.edu", "EMAIL"),
    ("müller@universität.example saw it", "müller@universität.example", "EMAIL"),
    ("ssh robot@franka-nuc, then retry", "robot@franka-nuc", "EMAIL"),
    ("call me at 415 555 0132 if it breaks", "415 555 0132", "PHONE"),
    ("call +1 (415) 555-0132", "+1 (415) 555-0132", "PHONE"),
    ("+41 44 632 11 11 is the lab", "+41 44 632 11 11", "PHONE"),
    ("lab 0041 44 632 11 11", "0041 44 632 11 11", "PHONE"),
    ("desk 020 7946 0958", "020 7946 0958", "PHONE"),
    ("or (415) 555-0132", "(415) 555-0132", "PHONE"),
    ("or 415-555-0132.", "415-555-0132", "PHONE"),
    ("or 415\u2011555\u20110132.", "415\u2011555\u20110132", "PHONE"),
    ("or 415.867.5309", "415.867.5309", "PHONE"),
    ("my phone number is 8675309", "8675309", "PHONE"),
    ("the lab, ext. 4410", "4410", "PHONE"),
    ("camera at 192.168.1.17 froze", "192.168.1.17", "IP"),
    ("server 10.0.0.5:8000 was slow", "10.0.0.5:8000", "IP"),
    ("from fe80::1ff:fe23:4567:890a%eth0", "fe80::1ff:fe23:4567:890a%eth0", "IP"),
    ("from 2001:0db8:85a3:0000:0000:8a2e:0370:7334.", "2001:0db8:85a3:0000:0000:8a2e:0370:7334", "IP"),
    ("from 2001:db8::1, again", "2001:db8::1", "IP"),
    ("nic 00:1A:2b:3c:4D:5e", "00:1A:2b:3c:4D:5e", "MAC"),
    ("nic 00-1a-2b-3c-4d-5e", "00-1a-2b-3c-4d-5e", "MAC"),
    ("nic 001a.2b3c.4d5e", "001a.2b3c.4d5e", "MAC"),
    ("logs in /home/jdoe/runs/3/log.txt", "/home/jdoe/runs/3/log.txt", "PATH"),
    ("see /Users/jane/Desktop/a.mp4.", "/Users/jane/Desktop/a.mp4.", "PATH"),
    ("see /mnt/home/jane/a", "/mnt/home/jane/a", "PATH"),
    (r"see C:\Users\Jane Doe\Videos\run.mp4", r"C:\Users\Jane Doe\Videos\run.mp4", "PATH"),
    (r"see D:\Users\jane", r"D:\Users\jane", "PATH"),
    (r"on \\labserver\share\jane", r"\\labserver\share\jane", "PATH"),
    ("in ~jdoe/data", "~jdoe/data", "PATH"),
    ("the host franka-nuc2.local froze", "franka-nuc2.local", "HOST"),
    ("ssh ws3.robots.example.edu hangs", "ws3.robots.example.edu", "HOST"),
    ("hostname: irislab-ws7", "irislab-ws7", "HOST"),
    ("workstation panda-pc-2 rebooted", "panda-pc-2", "HOST"),
    ("https://jane:secret@example.com/a was down", "https://jane:secret@example.com/a", "URL"),
    ("rtsp://192.168.1.5/cam0 froze", "rtsp://192.168.1.5/cam0", "URL"),
    ("http://franka.local/desk/ shows it", "http://franka.local/desk/", "URL"),
    ("http://example.com:8080/x shows it", "http://example.com:8080/x", "URL"),
    ("https://example.com/?token=abc123 shows it", "https://example.com/?token=abc123", "URL"),
    ("https://www.example.edu/~jane/x shows it", "https://www.example.edu/~jane/x", "URL"),
    ("ZED 2i S/N 22008760 shook", "22008760", "SERIAL"),
    ("camera 25947356 shook", "25947356", "SERIAL"),
    ("serial number: SN-2910-8812", "SN-2910-8812", "SERIAL"),
    ("robot serial 290102-1325435", "290102-1325435", "SERIAL"),
    ("realsense (f1230948)", "f1230948", "SERIAL"),
    ("lab at 37.42751, -122.16972 today", "37.42751, -122.16972", "GPS"),
    ("GPS: 9.0312 38.7469", "9.0312 38.7469", "GPS"),
    ("at 37.42° N, 122.17° W today", "37.42° N, 122.17° W", "GPS"),
    ("at 48°51'24\" N", "48°51'24\" N", "GPS"),
    ("at 48° 51′ 24″ N", "48° 51′ 24″ N", "GPS"),
    ("I was born on 3 May 1990 in town", "3 May 1990", "BIRTHDATE"),
    ("DOB: 1990-05-03", "1990-05-03", "BIRTHDATE"),
    ("date of birth 03/05/1990", "03/05/1990", "BIRTHDATE"),
    ("token hf_abcdefghijklmnopqrstuv leaked", "hf_abcdefghijklmnopqrstuv", "SECRET"),
    ("tell @jane_r on slack", "@jane_r", "HANDLE"),
    ("My name is Priya and I ran it.", "Priya", "PERSON"),
    ("this is Jonas Weber speaking", "Jonas Weber", "PERSON"),
    ("Policy A was better. - Priya", "Priya", "PERSON"),
    ("Policy A was better.\nBest,\nPriya R.", "Priya R.", "PERSON"),
    ("Dr. Müller reset it", "Müller", "PERSON"),
    ("ask Zoë (she ran it)", "Zoë", "PERSON"),
    ("evaluated by Jonas Weber.", "Jonas Weber", "PERSON"),
    ("Operator: Priya", "Priya", "PERSON"),
    ("B hung, Ingrid restarted it", "Ingrid", "PERSON"),
    ("then Jonas said it was fine", "Jonas", "PERSON"),
    ("logs in /home/jdoe/2026-03-02/run2 now", "/home/jdoe/2026-03-02/run2", "PATH"),
    ("my colleague Anna-Lena, who helped", "Anna-Lena", "PERSON"),
    ("Priya here, third run", "Priya", "PERSON"),
]

CLEAN = """
The Franka arm with the Bosch gripper stopped at 0173 steps.
Policy A moved to 10.5 cm above the cup at 15 Hz; policy B at 12.25 cm.
Firmware version 1.2.3.4 and v1.2.3.4 of the driver, mAP@0.5, pass@10, recall@5.
The gripper opened 3 times, from 0.08 m to 0.04 m, in 4.5-6.0 s.
Both policies failed; A got 40/100 and B got 10/100. Tie.
Policy A: 0.400, policy B: 0.125 (partial success).
Best Policy was B. Thanks, Policy A
The arm froze at joint 4 (-2.3561 rad), then at (0.4123, -0.2231, 0.1500).
positions 0.512345, -0.123456 and 0.1234567, -0.7654321 were reached
put the marker in the cup; then move the banana to 45.5, 30.2 on the table
It took 400 steps, i.e. 26.7 s (e.g. twice as long as B). Ratio 1:2:3, time 12:30:45, at 2025-07-01T18:22:31.
Evaluated on 2025-07-01 at 18:07:02; images of 1280x720, 640 x 480, 512x288.
Operator error: the arm was not reset. Operator stopped it. Evaluator Note: Both were bad.
Contact force too high. Contact with the table. Call it a tie. Text on the box is readable.
It knocked over the cup - Bad. The robot arm is at home position. The arm went home.
0b7b2b3e-1234-5678-9abc-def012345678/A_pi0_fast_droid_2025-07-01T18:22:31.123456_video_left.mp4
See https://robo-arena.github.io/leaderboard and https://huggingface.co/datasets/RoboArena/DataDump_02-03-2026.
paligemma_vq_droid, pi0_fast_droid, openvla-7b, gpt-5-2025-08-07, Qwen3-VL-8B, UR5e, RG2, D435i, ZED 2i.
The drawer was 3/4 open. Score 100 100 1000. Steps 120-1399. 5,000 frames.
std::vector<float> a::b; hello.world; data.pkl; left.mp4; see config.yaml and run.py.
Success rate 12.5%, then 0.125, 0.250, 0.375. Temperature 36.6 C. Torque +12.5 Nm, +0.1234567.
The grey block is left of the 2nd cube; it may stack. I will mark it as a failure. Hope it works.
policy a dropped the can. grace period over. the rose fell. Drew back.
Policy B (paligemma) with Policy A (pi0). Ask Policy A (again). The Robot here is stuck.
"""


@pytest.mark.parametrize(("text", "personal", "kind"), FOUND)
def test_it_is_found_and_nothing_else_is_touched(text: str, personal: str, kind: str) -> None:
    before, after = text.split(personal)
    assert scrub_text(text) == f"{before}<{kind}_1>{after}"


@pytest.mark.parametrize("line", [line for line in CLEAN.splitlines() if line])
def test_words_of_robots_stay(line: str) -> None:
    assert scrub_text(line, ["Mark Rose <robot.lab@example.edu>", "Grace Hope", "Drew Will"]) in (line, _named(line))


def _named(line: str) -> str:
    """The only two words of the clean set that are an evaluator's name by their capital letter."""
    return line.replace("Hope it", "<PERSON_1> it").replace("Drew back", "<PERSON_1> back")


def test_the_same_value_has_the_same_placeholder_in_all_texts_of_a_session() -> None:
    session = SessionText()
    texts = ["mail a@example.edu or b@example.edu", "B@EXAMPLE.EDU again, tel +41446321111"]
    for text in texts:
        session.learn(text)
    assert session.scrub(texts[0]) == ("mail <EMAIL_1> or <EMAIL_2>", 2)
    assert session.scrub(texts[1]) == ("<EMAIL_2> again, tel <PHONE_1>", 2)


@pytest.mark.parametrize(
    ("evaluator", "text", "scrubbed"),
    [
        ("Priya Raman", "Priya said priya raman's cup fell", "<PERSON_1> said <PERSON_1>'s cup fell"),
        ("priya.raman@example.edu", "PRIYA and Raman and praman", "<PERSON_1> and <PERSON_1> and <PERSON_1>"),
        ("jdoe42@example.edu", "jdoe and jdoe42 logged in", "<PERSON_1> and <PERSON_1> logged in"),
        ("Dr. J. Müller", "muller, Müller, J. Müller", "muller, <PERSON_1>, <PERSON_1>"),
        ("k.brandt@example.edu", "Karin Brandt, Anna Brandt", "<PERSON_1>, Anna <PERSON_1>"),
        ("Mark Rose", "Mark put the rose down, mark this", "<PERSON_1> put the rose down, mark this"),
        ("Evaluator One", "one cup, One evaluator, two arms", "one cup, One evaluator, two arms"),
        ("robot.lab@example.edu", "the robot lab was cold", "the robot lab was cold"),
        ("Ana Li", "Ana moved the banana to analyse it", "<PERSON_1> moved the banana to analyse it"),
        ("ada@example.edu", "commit 12ada34 and 4ada", "commit 12ada34 and 4ada"),
        ("Priya Raman", "see https://github.com/priya-raman/x", "see https://github.com/<PERSON_1>/x"),
        ("Priya Raman", "runs/priya_raman_3/left.mp4", "runs/<PERSON_1>_3/left.mp4"),
    ],
)
def test_an_evaluators_own_name_is_found_in_free_text(evaluator: str, text: str, scrubbed: str) -> None:
    assert scrub_text(text, [evaluator]) == scrubbed


def test_a_name_that_one_text_introduces_is_found_in_the_others() -> None:
    session = SessionText()
    for text in ("Policy B dropped it. - Priya", "write jonas.weber@example.edu"):
        session.learn(text)
    assert session.scrub("Priya reset the arm, then Jonas did")[0] == "<PERSON_1> reset the arm, then <PERSON_2> did"


def test_a_camera_name_loses_its_serial_and_keeps_its_place() -> None:
    assert SessionText().scrub("22008760_left", camera=True) == ("<SERIAL_1>_left", 1)
    assert SessionText().scrub("exterior_image_1", camera=True) == ("exterior_image_1", 0)


def test_a_dot_like_or_hidden_character_keeps_its_place_in_the_rest_of_the_text() -> None:
    seen, origin = shadow("½ａ\u200b@")
    assert seen == "1⁄2a@"
    assert origin == [0, 0, 0, 1, 3]


@given(st.text(max_size=300))
@example("<EMAIL_1> a@example.edu <EMAIL_2>")
@example("a@b.co@c.de@")
@settings(max_examples=150, deadline=None)
def test_scrubbing_twice_is_scrubbing_once(text: str) -> None:
    once = scrub_text(text)
    assert scrub_text(once) == once


@given(st.lists(st.sampled_from([text for text, _, _ in FOUND[:40]]), min_size=1, max_size=4), st.sampled_from(" \n"))
@settings(max_examples=60, deadline=None)
def test_what_is_found_alone_is_found_among_others(texts: list[str], between: str) -> None:
    scrubbed = scrub_text(f" {between}; {between} ".join(texts))
    for text, personal, _ in FOUND:
        if text in texts and len(personal) > 6:
            assert personal not in scrubbed


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "1",
        "1.",
        "a.",
        "@",
        "a@",
        "a@a.",
        "1-",
        "+1 ",
        "(1",
        ":",
        "a:",
        "0:",
        "/home/",
        "C:\\Users\\",
        "~a/",
        "http://",
        "Dr. A",
        "Dr. Abc ",
        "- Abc\n",
        "Best, ",
        "-",
        "Ab ",
        "a-",
        "serial ",
        "camera ",
        "1.11 ",
        "12.1234,",
        "call me at ",
        "born ",
        "a at a dot ",
        "\uff20",
        "\u200b",
        "host ",
        "é",
        "0a-",
        "aa:",
        "<A_1",
        "\\\\a",
        "ext. ",
    ],
)
def test_no_text_makes_a_pattern_run_away(unit: str) -> None:
    """Not timed: with one quantifier inside another over the same characters this would not end before the sun does."""
    text = unit * (50_000 // len(unit))
    assert re.sub(r"<[A-Z]+_\d+>", "", scrub_text(text)) is not None
