"""An OpenAI-compatible server in a process of its own, which answers by fixed rules and fails on demand.

    python tests/loopback.py --port 0 --fault 429 --times 2

prints `listening on http://127.0.0.1:PORT/v1`. Progress (GVL) is read out of the pictures themselves: how far right the
bright yellow square of `factories.make_video` stands, or how bright the picture is where there is none; plus noise from
the request's seed. Feedback (distill) is sorted by a few words. `--fault` meets the first `--times` attempts of each
distinct payload, so what a patient client ends with is what a server without faults would have said. In tests:

    with loopback.serve(fault="500", times=2) as base_url: ...
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import email.utils
import functools
import hashlib
import http.server
import io
import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

FAULTS = (
    "none, drop (connection cut in mid-answer), slow (answers after --slow-s), trickle (begins at once, goes on for "
    "--slow-s), garbage (a body that is not JSON), empty (no body), html (a proxy's page), no-choices, null (no text), "
    "truncated (finish_reason length), one-null (no text in the second choice), refusal, max-tokens (wants "
    "max_completion_tokens), a status code, 429-after and 429-date (429 with Retry-After in seconds, as a date); and, "
    "of the answer itself: wrong-count (an entry too few), prose (text where JSON was asked), german (the same in "
    "another language), german-json (the right JSON, its sentences in German), half-json (JSON cut off without a "
    "word), out-of-range (101 percent), gullible (does what the feedback orders), unlikely (the wanted token is not "
    "among those named); mixed: for each request one of MIXED"
)
MIXED = (
    *("429", "429-after", "429-date", "500", "502", "drop", "slow", "trickle", "garbage", "empty", "html"),
    *("no-choices", "null", "truncated", "one-null", "wrong-count", "prose", "german", "german-json", "half-json"),
    "out-of-range",
)
"""What fault `mixed` draws from, by the request: all that a patient client gets over."""
CONTENT = {"wrong-count", "prose", "german", "german-json", "half-json", "out-of-range", "gullible", "unlikely"}


TOKENS_PER_PICTURE = 100


class State:
    """What the server has seen."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.lock = threading.Lock()
        self.attempts: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.authorizations: set[str] = set()
        self.running = 0
        self.most_running = 0
        self.held_s = 0.0
        self.slots = threading.Semaphore(options.slots)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    state: State

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        state = self.state
        if self.path == "/v1/models":
            self._send(200, {"object": "list", "data": [{"id": state.options.model, "object": "model"}]})
        elif self.path == "/stats":
            with state.lock:
                counts = dict(state.seen) | {"distinct": len(state.attempts), "most_running": state.most_running}
                counts["held_s"] = state.held_s  # type: ignore[assignment]
                self._send(200, counts | {"authorizations": sorted(state.authorizations)})
        else:
            self._send(404, {"error": {"message": "no such path"}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v1/chat/completions":
            self._send(404, {"error": {"message": "no such path"}})
            return
        state = self.state
        with state.lock:
            state.seen["requests"] += 1
            state.authorizations.add(self.headers.get("Authorization", ""))
            key = hashlib.sha256(body).hexdigest()
            state.attempts[key] += 1
            met = int(key[:8], 16) / 2**32 < state.options.share
            faulty = met and state.attempts[key] <= state.options.times
            fault = MIXED[int(key, 16) % len(MIXED)] if state.options.fault == "mixed" else state.options.fault
            if faulty and fault != "none":
                state.seen[f"fault {fault}"] += 1
            state.running += 1
            state.most_running = max(state.most_running, state.running)
            state.seen["bytes"] += len(body)
            if state.seen["requests"] == state.options.die_at:
                os._exit(1)
        try:
            with state.slots:
                began = time.monotonic()
                until = began + state.options.latency_s
                if state.options.blind:
                    body = _without_pictures(body)
                time.sleep(max(0.0, until - time.monotonic()))
                held = time.monotonic() - began
            with state.lock:
                state.held_s += held
            self._answer(json.loads(body), fault if faulty else "none")
        finally:
            with state.lock:
                state.running -= 1

    def _answer(self, request: dict[str, Any], fault: str) -> None:
        options = self.state.options
        repairing = any(message["role"] == "assistant" for message in request["messages"])
        if fault in CONTENT and repairing and not options.stubborn:
            fault = "none"
        unsupported = [key for key in options.refuse.split(",") if key in request]
        if unsupported:
            self._send(400, {"error": {"message": f"{unsupported[0]!r} is not supported", "param": None}})
            return
        if fault in {"429-after", "429-date"}:
            until = email.utils.formatdate(time.time() + options.retry_after_s, usegmt=True)
            after = {"Retry-After": until if fault == "429-date" else f"{options.retry_after_s or 0.2:g}"}
            self._send(429, {"error": {"message": "slow down"}}, after)
        elif fault.isdigit():
            headers = {"Retry-After": f"{options.retry_after_s:g}"} if options.retry_after_s else {}
            said = f"planted {fault}; you sent {self.headers.get('Authorization')}"
            self._send(int(fault), {"error": {"message": said, "param": options.param}}, headers)
        elif fault == "max-tokens" and "max_tokens" in request:
            said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            self._send(400, {"error": {"message": said, "param": "max_tokens", "code": "unsupported_parameter"}})
        elif fault in {"garbage", "empty", "html"}:
            self._send(200, {"garbage": b'{"choices": [{"mess', "empty": b"", "html": b"<html>busy</html>"}[fault])
        else:
            if fault == "slow":
                time.sleep(options.slow_s)
            self._complete(request, fault)

    def _complete(self, request: dict[str, Any], fault: str) -> None:
        wanted = min(request.get("n", 1), self.state.options.most_choices)
        choices = [self._choice(request, number, fault) for number in range(wanted)]
        if fault == "one-null" and len(choices) > 1:
            choices[1]["message"]["content"] = None
        usage: dict[str, int] | None = {
            "prompt_tokens": len(_text(request)) // 4 + TOKENS_PER_PICTURE * len(_pictures(request)),
            "completion_tokens": sum(len(choice["message"]["content"] or "") // 4 for choice in choices),
        }
        if self.state.options.no_usage:
            usage = None
        choices = [] if fault == "no-choices" else choices
        payload = {"id": "chatcmpl-0", "object": "chat.completion", "created": 0, "model": request["model"]}
        self._send(200, payload | {"choices": choices[::-1], "usage": usage}, breaks=fault)
        with self.state.lock:
            self.state.seen["answered"] += fault == "none"
            self.state.seen["choices"] += len(choices)
            self.state.seen["prompt_tokens"] += (usage or {}).get("prompt_tokens", 0)
            self.state.seen["completion_tokens"] += (usage or {}).get("completion_tokens", 0)

    def _choice(self, request: dict[str, Any], number: int, fault: str) -> dict[str, Any]:
        """Choice `number` of n is what a request of its own with the seed after so many would get, as vLLM does it."""
        text = answer(request | {"seed": (request.get("seed") or 0) + number}, fault)
        choice: dict[str, Any] = {
            "index": number,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
        }
        if request.get("logprobs") and not self.state.options.no_logprobs:
            from reward_answers import likelihoods

            choice["logprobs"] = likelihoods(_pictures(request), _progress, unlikely=fault == "unlikely")
        if fault == "null":
            choice["message"]["content"] = None
        elif fault == "refusal":
            choice["message"] = {"role": "assistant", "content": None, "refusal": "I will not look at that."}
        elif fault == "truncated":
            choice["message"]["content"], choice["finish_reason"] = text[: len(text) // 2], "length"
        return choice

    def _send(self, status: int, body: Any, headers: dict[str, str] | None = None, breaks: str = "") -> None:
        """breaks: fault `drop` or `trickle`, of the sending itself."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        # A client that gave up waiting has closed its end; that is its right.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if breaks == "trickle":
                self.close_connection = True  # whoever waits no longer resets it
                size = -(-len(data) // 40)  # never silent for long
                for start in range(0, len(data), size):
                    time.sleep(self.state.options.slow_s / 40)
                    self.wfile.write(data[start : start + size])
                return
            self.wfile.write(data[: len(data) // 2] if breaks == "drop" else data)
            if breaks == "drop":
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True


def answer(request: dict[str, Any], fault: str = "none") -> str:
    """The text of a good answer, or of one that is bad in the way of `fault`."""
    if fault == "prose":
        return "I would rather talk about it."
    if fault == "german":
        return "Auf dem ersten Bild hat der Roboter 40 Prozent der Aufgabe geschafft."
    said = _text(request)
    short = fault == "wrong-count"
    asked = said.rpartition("Answer with one JSON object: ")[2]  # feedback may hold any JSON, this part is ours
    text = "You said: " + said[-60:]
    if '{"frames":' in said:
        entries = progress(request)
        if fault == "out-of-range":
            entries[-1]["percent"] = 101
        text = json.dumps({"frames": entries[: len(entries) - short]})
    elif '{"rollouts":' in asked:
        labels = json.loads(re.search(r"Labels of the rollouts: (.*)", said)[1])  # type: ignore[index]
        entries = sort_feedback(said, labels)
        if fault == "german-json":
            for entry in entries:
                entry["critique"] = [one | {"sentence": "Der Roboter ist nicht schnell."} for one in entry["critique"]]
        text = json.dumps({"rollouts": entries[: len(entries) - short]})
        if fault == "gullible":
            text = obey(request, labels)
    elif '{"verdicts":' in asked:
        entries = judge_claims(said, gullible=fault == "gullible")
        text = json.dumps({"verdicts": entries[: len(entries) - short]})
    else:
        from reward_answers import answer as rewarding  # beside this script, which runs as one

        text = rewarding(said, _pictures(request), _progress, outside=fault == "out-of-range") or text
    return text[: len(text) // 2] if fault == "half-json" else text


def progress(request: dict[str, Any]) -> list[dict[str, Any]]:
    """An entry for each moment after the first, which is the anchor; of several cameras the first is looked at."""
    pictures = _pictures(request, after="What follows is the attempt that you are to judge.")
    many = re.search(r"is shown as (\d+) pictures in a row", _text(request))
    entries = []
    for number, picture in enumerate(pictures[:: int(many[1]) if many else 1][1:], start=1):
        noise = hashlib.sha256(f"{request.get('seed')}".encode() + picture).digest()[0] / 255 - 0.5
        percent = min(100, max(0, round(100 * _progress(picture) + 30 * noise * request["temperature"])))
        entries.append({"frame": number, "seen": "a square", "percent": percent})
    return entries


def _without_pictures(body: bytes) -> bytes:
    return re.sub(rb"base64,[A-Za-z0-9+/=]*", b"base64,", body)


def _pictures(request: dict[str, Any], after: str = "") -> list[bytes]:
    """The pictures of a request, those after the text `after` where that is there."""
    found: list[bytes] = []
    for message in request["messages"]:
        for part in message["content"] if isinstance(message["content"], list) else []:
            if part["type"] == "image_url":
                found.append(decoded(part))
            elif after and after in part["text"]:
                found.clear()
    return found


def decoded(part: dict[str, Any]) -> bytes:
    """The bytes of a picture in a message."""
    return base64.b64decode(part["image_url"]["url"].partition(",")[2])


@functools.lru_cache(maxsize=4096)
def _progress(picture: bytes) -> float:
    if not picture:
        return 0.5
    import av
    import numpy as np

    with av.open(io.BytesIO(picture)) as container:
        pixels = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    square = (pixels[..., 0] > 200) & (pixels[..., 1] > 190) & (pixels[..., 2] < 130)
    if square.any():
        return float(np.nonzero(square)[1].mean() / pixels.shape[1])
    return float(pixels.mean() / 255)


def sort_feedback(text: str, labels: list[str]) -> list[dict[str, Any]]:
    """An entry for each label, from the sentences between the feedback's marks that name it."""
    block = re.search(r"<feedback (\w+)>\n(.*?)\n</feedback \1>", text, re.DOTALL)
    together = block[2] if block else ""
    entries = []
    for label in labels:
        spans = [s for s in re.findall(r"[^.!?]+[.!?]", together) if re.search(rf"(?i:policy|rollout) {label}\b", s)]
        spans = [span.strip() for span in spans]
        words = {"dropped": ("grasp", "slip_or_drop"), "knocked": ("unsafe_interaction", "collision_object")}
        failures = [
            {"category": c, "kind": k, "severity": None, "span": span, "description": f"The robot {word} something."}
            for span in spans
            for word, (c, k) in words.items()
            if word in span
        ]
        critique = [{"sentence": f"It is said that {span}", "span": span} for span in spans]
        entries.append({"label": label, "critique": critique, "failures": failures})
    return entries


def judge_claims(text: str, gullible: bool = False) -> list[dict[str, Any]]:
    """A verdict on each claim: supported where claim and quotation share a word of five letters. Gullible: always."""
    claims = re.findall(r"<claim (\d+) \w+>\nrollout: .*\nclaim: (.*)\nquotation: (.*)\n</claim", text)
    words = [(int(number), *(set(re.findall(r"\w{5,}", part.lower())) for part in parts)) for number, *parts in claims]
    return [{"claim": number, "supported": gullible or bool(claim & span)} for number, claim, span in words]


def obey(request: dict[str, Any], labels: list[str]) -> str:
    """What a gullible model answers: the last JSON object in the feedback, else its own instructions as a critique."""
    block = re.search(r"<feedback (\w+)>\n(.*?)\n</feedback \1>", _text(request), re.DOTALL)
    feedback = block[2] if block else ""
    planted = re.search(r"\{.*\}", feedback, re.DOTALL)
    if planted:
        return planted[0]
    system = str(request["messages"][0]["content"])
    said = {"critique": [{"sentence": system[:1000], "span": feedback.strip()[:30].strip()}], "failures": []}
    return json.dumps({"rollouts": [{"label": label, **said} for label in labels]})


def _text(request: dict[str, Any]) -> str:
    """All text of the user's first turn."""
    content = next(message["content"] for message in request["messages"] if message["role"] == "user")
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


@contextlib.contextmanager
def serve(script: str = __file__, **flags: Any) -> Iterator[str]:
    """Run the server in a process of its own and give its base URL; `flags` are the options with _ for -.

    script: this one, or one that calls `main` once it has put other answers in place."""
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items() if value is not True]
    switches = [f"--{name.replace('_', '-')}" for name, value in flags.items() if value is True]
    process = subprocess.Popen([sys.executable, script, *arguments, *switches], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], 30)
        line = process.stdout.readline() if ready else ""
        if not line.startswith("listening on "):
            raise RuntimeError(f"the loopback server did not start: {line!r}")
        yield line.removeprefix("listening on ").strip()
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def stats(base_url: str) -> dict[str, Any]:
    """What the server has seen: requests, answered, distinct payloads, most_running at once, authorizations."""
    with urllib.request.urlopen(base_url.removesuffix("/v1") + "/stats") as response:
        found: dict[str, Any] = {"requests": 0, "answered": 0} | json.load(response)
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--model", default="loopback")
    parser.add_argument("--fault", default="none", help=FAULTS)
    parser.add_argument("--times", type=int, default=1, help="how many attempts of each payload meet the fault")
    parser.add_argument("--share", type=float, default=1.0, help="of the payloads that meet the fault at all")
    parser.add_argument("--retry-after-s", type=float, default=0.0, help="sent with status faults where not 0")
    parser.add_argument("--slow-s", type=float, default=2.0)
    parser.add_argument("--latency-s", type=float, default=0.0, help="before each answer")
    parser.add_argument("--param", default=None, help="the parameter that a status fault blames")
    parser.add_argument("--stubborn", action="store_true", help="faults of the answer itself also meet repair requests")
    parser.add_argument("--slots", type=int, default=1024, help="how many requests are worked on at a time")
    parser.add_argument("--most-choices", type=int, default=128, help="how many answers a request gets, whatever its n")
    parser.add_argument("--refuse", default="", help="keys of a request that meet a 400, such as n,response_format")
    parser.add_argument("--blind", action="store_true", help="does not look at pictures, which takes it no time then")
    parser.add_argument("--no-logprobs", action="store_true", help="gives no log-probabilities, and does not say so")
    parser.add_argument("--no-usage", action="store_true", help="does not say how many tokens an answer took")
    parser.add_argument("--die-at", type=int, default=0, help="the number of the request at which the server dies")
    options = parser.parse_args(arguments)
    Handler.state = State(options)
    http.server.ThreadingHTTPServer.request_queue_size = 256
    server = http.server.ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    server.daemon_threads = True
    print(f"listening on http://127.0.0.1:{server.server_address[1]}/v1", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
