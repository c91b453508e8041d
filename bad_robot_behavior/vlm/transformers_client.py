"""Image-text-to-text models of `transformers`, run in this process, from a folder or the Hub."""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bad_robot_behavior.errors import BadRobotError, hub_errors, require
from bad_robot_behavior.schema import ModelSettings
from bad_robot_behavior.vlm.cache import Cache
from bad_robot_behavior.vlm.cached import LocalClient
from bad_robot_behavior.vlm.client import Answer, Image, Message, Request
from bad_robot_behavior.vlm.wire import lacking, likelihoods

_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]  # of a model on the Hub: no code, no other weights
_READ_WHOLE = 2**20


class TransformersClient(LocalClient):
    """A model that AutoModelForImageTextToText loads, with its AutoProcessor. Loaded when it is first needed, so that a
    run over a full cache loads nothing.

    The seed of a request decides its sample, so the same request gives the same answer on the same machine and
    versions. Nothing enforces a JSON schema here; the answer is read as strictly all the same. Weights are read from
    safetensors alone, and no code that comes with a model is run. Raises BadRobotError for a model that is not there
    or cannot be loaded.
    """

    def __init__(self, settings: ModelSettings, folder: Path = Path(), cache: Cache | None = None) -> None:
        require("torch", "transformers")
        require("transformers", "transformers")
        local = folder / Path(settings.path).expanduser()
        self._place = str(local) if local.exists() else settings.path
        if local.exists() and not (local / "config.json").is_file():
            raise BadRobotError(f"{local}: is no folder of a model: it has no config.json")
        if not local.exists() and not _may_be_on_the_hub(settings.path):
            raise BadRobotError(
                f"{local}: there is no such folder; model.path is a folder with a model in it, or an id on the Hub"
            )
        name = local.resolve().name if local.exists() else settings.path
        super().__init__(f"{name}#{_fingerprint(local) if local.exists() else settings.revision or 'newest'}", cache)
        self.settings = settings

    def _generate(self, request: Request) -> Answer:
        import torch

        processor, model = load(self._place, self.model, self.settings.revision, self.settings.device)
        inputs = self._read(processor, request).to(model.device, dtype=model.dtype)
        length = inputs["input_ids"].shape[1]
        longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if longest is not None and length + request.max_tokens > longest:
            return lacking(
                "refused",
                f"the question has {length} tokens and the answer may have {request.max_tokens}; the model reads "
                f"{longest} in all",
            )
        self.counters["requests_sent"] += 1
        if request.candidates:
            answer = _weigh(processor.tokenizer, model, inputs, request.candidates)
            answer = msgspec.structs.replace(answer, prompt_tokens=length, completion_tokens=1)
            self.counters.update({"prompt_tokens": length, "completion_tokens": 1, "requests_answered": 1})
            return answer
        sampling: dict[str, Any] = (
            {"do_sample": True, "temperature": request.temperature, "top_p": 1.0, "top_k": 0}
            if request.temperature > 0
            else {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        )
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(request.seed or 0)
            try:
                tokens = model.generate(**inputs, max_new_tokens=request.max_tokens, num_beams=1, **sampling)
            except torch.OutOfMemoryError as error:
                raise BadRobotError(
                    f"model {self.model}: {self.settings.device} has not enough memory for a question of {length} "
                    "tokens; take fewer frames (num_frames), smaller ones (image_size) or a smaller model"
                ) from error
        new = tokens[0, length:]
        used = {"prompt_tokens": length, "completion_tokens": len(new)}
        self.counters.update(used | {"requests_answered": 1})
        if len(new) >= request.max_tokens and not _ends(new, model):
            return Answer(text=None, lack="empty", error="the answer was cut off at max_tokens", **used)
        text = processor.batch_decode(new[None], skip_special_tokens=True)[0].strip()
        if not text:
            return Answer(text=None, lack="empty", error="the answer has no text", **used)
        return Answer(text=text, **used)

    def _read(self, processor: Any, request: Request) -> Any:
        import jinja2

        options = {"tokenize": True, "return_dict": True, "return_tensors": "pt", "add_generation_prompt": True}
        try:
            return processor.apply_chat_template([_turn(message) for message in request.messages], **options)
        except jinja2.TemplateError:  # a model without a system turn reads those words in the first turn
            first, second, *rest = request.messages
            joined = Message(second.role, first.parts + second.parts)
            return processor.apply_chat_template([_turn(message) for message in (joined, *rest)], **options)


@functools.lru_cache(maxsize=1)  # shards that run in one process share the model
def load(place: str, model: str, revision: str | None, device: str) -> tuple[Any, Any]:
    """(processor, model) of a folder or Hub id; `model` tells apart what has changed since. Raises BadRobotError."""
    from huggingface_hub import snapshot_download
    from transformers import AutoModelForImageTextToText, AutoProcessor

    unusable: tuple[type[Exception], ...] = (*hub_errors(), ValueError, RuntimeError, ImportError, KeyError)
    try:
        if not Path(place).exists():
            # In one go: transformers asks for file after file, and of each six times where the Hub is out of reach.
            place = snapshot_download(place, revision=revision, allow_patterns=_FILES)
        processor = AutoProcessor.from_pretrained(place, trust_remote_code=False)
        loaded = AutoModelForImageTextToText.from_pretrained(
            place, dtype="auto", use_safetensors=True, trust_remote_code=False
        )
        return processor, loaded.to(device).eval()
    except unusable as error:
        raise BadRobotError(
            f"{place}: transformers cannot load it as an image-text-to-text model: {' '.join(str(error).split())[:300]}"
        ) from error


def _turn(message: Message) -> dict[str, Any]:
    return {"role": message.role, "content": [_part(part) for part in message.parts]}


def _part(part: str | Image) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    import PIL.Image

    return {"type": "image", "image": PIL.Image.open(io.BytesIO(part.data)).convert("RGB")}


def _weigh(tokenizer: Any, model: Any, inputs: Any, candidates: Sequence[str]) -> Answer:
    """Log-probabilities of the candidates as the first token of the answer, from the model's own logits."""
    import torch

    numbers = [tokenizer.encode(text, add_special_tokens=False) for text in candidates]
    for text, tokens in zip(candidates, numbers, strict=True):
        if len(tokens) != 1:
            return lacking("refused", f"{text!r} is {len(tokens)} tokens of this model, and must be one")
    settled = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None, "num_beams": 1}
    with torch.inference_mode():
        said = model.generate(**inputs, max_new_tokens=1, output_logits=True, return_dict_in_generate=True, **settled)
    log_p = torch.log_softmax(said.logits[0][0].double(), dim=-1)
    return likelihoods(
        [(text, log_p[token].item()) for text, [token] in zip(candidates, numbers, strict=True)], candidates
    )


def _ends(tokens: Any, model: Any) -> bool:
    stops = model.generation_config.eos_token_id
    return int(tokens[-1]) in (stops if isinstance(stops, list) else [stops])


def _may_be_on_the_hub(path: str) -> bool:
    return path.count("/") <= 1 and not path.startswith((".", "/", "~"))


def _fingerprint(folder: Path) -> str:
    """Twelve hex digits that stand for a model's files: names, sizes, the content of small ones, the ends of large
    ones. Two trainings of one model differ in these, and no gigabyte is read for a name."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            size = path.stat().st_size
            digest.update(f"{path.name}\x1f{size}\x1f".encode())
            with path.open("rb") as file:
                digest.update(file.read(_READ_WHOLE))
                if size > _READ_WHOLE:
                    file.seek(max(_READ_WHOLE, size - _READ_WHOLE))
                    digest.update(file.read())
    return digest.hexdigest()[:12]
