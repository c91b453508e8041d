"""The client of Robometer's server, against a server on loopback that reads the form as the published one does."""

from __future__ import annotations

import contextlib
import email.parser
import email.policy
import http.server
import io
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from bad_robot_behavior import scorers
from bad_robot_behavior.errors import BadRobotError, EndpointDownError, EndpointError
from bad_robot_behavior.scorers.robometer import Robometer
from bad_robot_behavior.scorers.scorer import Clip

Said = Callable[[dict[str, Any]], Any]


@contextlib.contextmanager
def serve(said: Said, status: int = 200) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(base URL, the forms it has seen). `said` gives the answer to a form, bytes or what becomes JSON."""
    seen: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            form = {"path": self.path} | read_form(self.headers["Content-Type"], body)
            seen.append(form)
            answer = said(form)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status if self.path == "/evaluate_batch_npy" else 404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def read_form(kind: str, body: bytes) -> dict[str, Any]:
    """Fields as text, files as arrays where their names end in .npy: what robometer/evals/eval_utils.py does."""
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    form: dict[str, Any] = {}
    for part in message.iter_parts():  # type: ignore[attr-defined]
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        is_array = (part.get_filename() or "").endswith(".npy")
        form[name] = np.load(io.BytesIO(content), allow_pickle=False) if is_array else content.decode()
    return form


def clip(n: int = 3, name: str = "f") -> Clip:
    frames = np.arange(n * 4 * 6 * 3, dtype=np.uint8).reshape(n, 4, 6, 3)
    index = np.arange(n)
    return Clip(rollout_id=name * 20, instruction="pick it", frames=frames, frame_index=index, num_frames=n, fps=10.0)


def both(progress: Any, success: Any) -> dict[str, Any]:
    return {"outputs_progress": {"progress_pred": progress}, "outputs_success": {"success_probs": success}}


def test_the_form_holds_what_the_published_client_sends() -> None:
    with serve(lambda form: both([[0.1, 0.5, 0.4]], [[0.0, 0.2, 0.9]])) as (base_url, seen):
        scorer = scorers.get("robometer", base_url=base_url + "/")
        [curve] = scorer.score([clip()])
        np.testing.assert_allclose(curve.value, [0.1, 0.5, 0.4])  # type: ignore[arg-type]
        [curve] = Robometer(base_url, output="success", frame_steps=False).score([clip()])
        np.testing.assert_allclose(curve.value, [0.0, 0.2, 0.9])  # type: ignore[arg-type]
    form, second = seen
    assert form["path"] == "/evaluate_batch_npy"
    assert (form["use_frame_steps"], second["use_frame_steps"]) == ("true", "false")
    np.testing.assert_array_equal(form["sample_0_trajectory_frames"], clip().frames)  # type: ignore[arg-type]
    assert json.loads(form["sample_0"]) == {
        "sample_type": "progress",
        "trajectory": {
            "frames": {"__numpy_file__": "sample_0_trajectory_frames"},
            "frames_shape": [3, 4, 6, 3],
            "task": "pick it",
            "id": "f" * 20,
            "metadata": {"subsequence_length": 3},
            "video_embeddings": None,
        },
    }
    assert base_url not in json.dumps(scorer.parameters())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"<html>", "not of the form"),
        ({}, "gave values for 0 clips of progress for one clip of 3 frames"),
        ({"outputs_progress": {}}, "not of the form"),
        (both([[0.1, 0.2]], []), "gave 2 values"),
        (both([[0.1] * 3] * 2, []), "gave values for 2 clips"),
        (both([[0.1, None, 0.2]], []), "not of the form"),
        (both([[0.1, 1.2, 0.2]], []), "outside"),
        (b'{"outputs_progress": {"progress_pred": [[0.1, NaN, 0.2]]}}', "not of the form"),
    ],
)
def test_an_answer_that_does_not_fit_is_the_rollouts_error(answer: Any, words: str) -> None:
    with serve(lambda form: answer) as (base_url, _):
        [curve] = Robometer(base_url).score([clip()])
    assert curve.value is None
    assert words in (curve.error or "")
    assert "127.0.0.1" not in (curve.error or "")


def test_rounding_is_cut_and_one_bad_clip_leaves_the_others() -> None:
    def said(form: dict[str, Any]) -> Any:
        return both([[-0.0005, 0.5, 1.0004]], []) if json.loads(form["sample_0"])["trajectory"]["id"][0] == "a" else {}

    with serve(said) as (base_url, _):
        good, bad = Robometer(base_url).score([clip(name="a"), clip(name="b")])
    np.testing.assert_array_equal(good.value, [0, 0.5, 1])  # type: ignore[arg-type]
    assert bad.error is not None


def test_a_server_that_is_not_there_stops_the_run() -> None:
    with serve(lambda form: {}) as (base_url, _), pytest.raises(EndpointError, match="without a path"):
        Robometer(f"{base_url}/v1").score([clip()])
    with pytest.raises(EndpointDownError, match="no Robometer server"):
        Robometer(base_url).score([clip()])
    with serve(lambda form: {}, status=500) as (base_url, _):
        [curve] = Robometer(base_url).score([clip()])
    assert curve.error == "the server answered 500"
    with pytest.raises(BadRobotError, match="legal: progress, success"):
        scorers.get("robometer", base_url=base_url, output="reward")
    with pytest.raises(BadRobotError, match="base_url"):
        scorers.get("robometer")
