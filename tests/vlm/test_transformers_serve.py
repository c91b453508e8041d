"""The HTTP client against a server that is not ours: `transformers serve` with a tiny model of random weights."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bad_robot_behavior import media
from bad_robot_behavior.schema import EndpointSettings
from bad_robot_behavior.vlm.client import Image, Message, Request
from bad_robot_behavior.vlm.openai_client import OpenAIClient
from tests.tiny_models import tiny_llava


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(base URL, name of the model)."""
    for module in ("torch", "transformers", "fastapi", "uvicorn", "accelerate"):
        pytest.importorskip(module, reason=f"{module} is not installed, which transformers serve needs")
    folder = tmp_path_factory.mktemp("served")
    model = tiny_llava(folder / "model", stops=range(256))  # any byte ends an answer, so that it is one
    (folder / "hub").mkdir()
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    command = [Path(sys.executable).parent / "transformers", "serve", model, "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"HF_HOME": str(folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        for _ in range(600):
            if server.poll() is not None:
                raise RuntimeError((folder / "log").read_text()[-2000:])
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1", str(model)
    finally:
        server.terminate()
        server.wait()


def test_pictures_go_out_and_answers_come_back(served: tuple[str, str]) -> None:
    url, model = served
    client = OpenAIClient(EndpointSettings(base_url=url, model=model, max_attempts=2))
    shown = tuple(Image(media.jpeg(np.full((48, 64, 3), level, np.uint8)), "image/jpeg") for level in (20, 200))
    messages = (Message("system", ("be short",)), Message("user", ("look", shown[0], "and", shown[1])))
    request = Request(model=model, messages=messages, max_tokens=8, temperature=0.8, json_schema={"type": "object"})
    answers = client.ask(
        [Request(**{n: getattr(request, n) for n in request.__struct_fields__} | {"seed": s}) for s in (1, 2, 3)]
    )
    assert all(answer.text for answer in answers), answers
    assert all((answer.prompt_tokens or 0) > 20 for answer in answers)
    assert client.endpoint.known.without == {"n"}, "it gives one answer, whatever n says"
    assert client.counters["requests_sent"] == 3
