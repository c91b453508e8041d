"""Models that run in this process: really loaded, from files that the tests make. No network, no weights but random."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bad_robot_behavior import media
from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.schema import ModelSettings
from bad_robot_behavior.scorers.gvl import GVL
from bad_robot_behavior.scorers.scorer import Clip
from bad_robot_behavior.vlm import transformers_client
from bad_robot_behavior.vlm.cache import Cache
from bad_robot_behavior.vlm.client import Answer, Image, Message, Request
from bad_robot_behavior.vlm.llamacpp_client import LlamaCppClient
from bad_robot_behavior.vlm.transformers_client import TransformersClient
from tests.tiny_models import TEMPLATE, teach, tiny_gguf, tiny_llava

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "category": {"type": "string", "enum": ["grasp", "reach", "none"]},
        "n": {"type": "integer", "minimum": 1, "maximum": 3},
    },
    "required": ["category", "n"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="the extra transformers is not installed")
    pytest.importorskip("transformers", reason="the extra transformers is not installed")
    import torch

    torch.set_num_threads(1)
    return tiny_llava(tmp_path_factory.mktemp("models") / "llava")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("xllamacpp", reason="the extra llamacpp is not installed")
    pytest.importorskip("gguf", reason="gguf is not installed, which writes the model")
    return tiny_gguf(tmp_path_factory.mktemp("models") / "tiny.gguf")


def seeing(folder: Path, cache: Cache | None = None) -> TransformersClient:
    return TransformersClient(ModelSettings(kind="transformers", path=str(folder)), cache=cache)


def writing(path: Path, cache: Cache | None = None) -> LlamaCppClient:
    return LlamaCppClient(ModelSettings(kind="llamacpp", path=str(path)), cache=cache)


def picture(level: int) -> Image:
    return Image(media.jpeg(np.full((48, 64, 3), level, np.uint8)), "image/jpeg")


def look(model: str, **changes: Any) -> Request:
    parts = ("look", picture(30), "and", picture(200))
    messages = (Message("system", ("be short",)), Message("user", parts))
    return msgspec.structs.replace(Request(model=model, messages=messages, max_tokens=20), **changes)


def test_a_llava_is_loaded_asked_and_taught(llava: Path, tmp_path: Path) -> None:
    """Random weights babble, and that is told apart; the same model, trained, gives GVL its curve."""
    clip = Clip(
        rollout_id="0" * 20,
        instruction="put it there",
        frames=np.stack([np.full((48, 64, 3), level, np.uint8) for level in (0, 90, 180)]),
        frame_index=np.arange(3),
        num_frames=3,
        fps=10.0,
    )
    babbling = GVL(seeing(llava), num_frames=3, prompt="gvl_brief")
    (nothing,) = babbling.score([clip])
    assert nothing.value is None
    assert "cut off" in (nothing.error or "") or "JSON" in (nothing.error or "")

    frames = [{"frame": 1, "seen": "a", "percent": 40}, {"frame": 2, "seen": "b", "percent": 90}]
    (request,) = [request for _, request in babbling._questions(babbling.encode(clip), 1)]
    taught = tiny_llava(tmp_path / "taught")
    teach(taught, [transformers_client._turn(message) for message in request.messages], json.dumps({"frames": frames}))
    client = seeing(taught)
    (curve,) = GVL(client, num_frames=3, prompt="gvl_brief").score([clip])
    assert curve.error is None
    assert curve.value is not None
    assert sorted(curve.value) == [0, 0.4, 0.9]
    assert curve.usage is not None and (curve.usage.completion_tokens or 0) > 50
    assert client.model != seeing(llava).model, "another training is another model"


def test_seeds_decide_what_is_sampled_and_pictures_count(llava: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache.sqlite")
    folder = tiny_llava(tmp_path / "llava", stops=range(256))  # so that babble ends, and is kept
    client = seeing(folder, cache)
    asked = [look(client.model, temperature=1.5, seed=seed) for seed in (1, 2, 3, 4, 1)]
    first = client.ask(asked)
    texts = [answer.text or answer.error for answer in first]
    assert texts[0] == texts[4]
    assert len(set(texts)) > 1
    again = seeing(folder)
    assert [answer.text or answer.error for answer in again.ask(asked)] == texts
    (more,) = again.ask([look(client.model, messages=(Message("user", ("look",)),))])
    assert (more.prompt_tokens or 0) < (first[0].prompt_tokens or 0) - 8  # 4 patches and 2 letters for each picture


def test_a_full_cache_loads_no_model(llava: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache.sqlite")
    client = pickle.loads(pickle.dumps(seeing(llava, cache)))
    request = look(client.model)
    cache.put(request, Answer(text="kept"))
    before = transformers_client.load.cache_info().misses
    assert client.ask([request])[0].text == "kept"
    assert transformers_client.load.cache_info().misses == before


def test_a_model_without_a_system_turn_reads_those_words_all_the_same(tmp_path: Path, llava: Path) -> None:
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + TEMPLATE
    client = seeing(tiny_llava(tmp_path / "strict", template=strict))
    (answer,) = client.ask([look(client.model)])
    (plain,) = seeing(llava).ask([look("x")])
    assert (answer.prompt_tokens or 0) == (plain.prompt_tokens or 0) - len("system: ")


def test_a_question_that_is_too_long_is_refused_not_cut(tmp_path: Path, llava: Path) -> None:
    client = seeing(tiny_llava(tmp_path / "short", context=60))
    (answer,) = client.ask([look(client.model)])
    assert answer.lack == "refused"
    assert "the model reads 60 in all" in (answer.error or "")


@pytest.mark.parametrize(
    ("path", "words"),
    [("nowhere/at/all", "no such folder"), ("./nowhere", "no such folder"), ("empty", "no config.json")],
)
def test_a_folder_without_a_model_is_named(path: str, words: str, tmp_path: Path, llava: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadRobotError, match=words):
        TransformersClient(ModelSettings(kind="transformers", path=path), tmp_path)


def test_a_hub_that_is_out_of_reach_is_asked_once(llava: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def snapshot_download(name: str, **_options: object) -> str:
        asked.append(name)
        raise ConnectionError("nobody there")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    client = TransformersClient(ModelSettings(kind="transformers", path="owner/name"))
    with pytest.raises(BadRobotError, match=r"owner/name: transformers cannot load it .*: nobody there"):
        client.ask([look(client.model)])
    assert asked == ["owner/name"]


def test_a_model_that_cannot_be_loaded_is_one_sentence(tmp_path: Path, llava: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "no-such-model"}')
    client = seeing(folder)
    with pytest.raises(BadRobotError, match="broken: transformers cannot load it"):
        client.ask([look(client.model)])


def test_pickled_weights_are_not_opened(tmp_path: Path, llava: Path) -> None:
    import torch

    folder = tiny_llava(tmp_path / "pickled")
    (folder / "model.safetensors").rename(tmp_path / "away")
    torch.save({}, folder / "pytorch_model.bin")
    client = seeing(folder)
    with pytest.raises(BadRobotError, match="cannot load it"):
        client.ask([look(client.model)])


def ask_gguf(client: LlamaCppClient, seed: int, **changes: Any) -> Request:
    messages = (Message("user", ("The robot dropped the cup.",)),)
    request = Request(model=client.model, messages=messages, max_tokens=400, temperature=0.8, json_schema=SCHEMA)
    return msgspec.structs.replace(request, seed=seed, **changes)


def test_llamacpp_keeps_to_the_schema_whatever_the_weights_say(gguf: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache.sqlite")
    client = writing(gguf, cache)
    requests = [ask_gguf(client, seed) for seed in range(12)]
    answers = client.ask(requests)
    for answer in answers:
        said = json.loads(answer.text or "")
        assert said["category"] in ("grasp", "reach", "none")
        assert said["n"] in (1, 2, 3)
        assert answer.prompt_tokens and answer.completion_tokens
    assert len({answer.text for answer in answers}) > 3
    fresh = pickle.loads(pickle.dumps(writing(gguf)))
    assert [answer.text for answer in fresh.ask(requests)] == [answer.text for answer in answers]
    sent = (kept := writing(gguf, cache)).ask(requests)
    assert [answer.text for answer in sent] == [answer.text for answer in answers]
    assert (kept.counters["requests_sent"], kept.counters["requests_cached"]) == (0, 12)


def test_llamacpp_answers_the_same_whatever_it_was_asked_before(gguf: Path, tmp_path: Path) -> None:
    """What it keeps of a system turn that it has read must not show in an answer."""
    systems = [Message("system", (" ".join(f"{word} {n}" for n in range(40)),)) for word in ("grasp", "reach")]
    client = writing(gguf)
    questions = [
        ask_gguf(client, seed, messages=(system, Message("user", (f"It fell {seed} times.",))))
        for system in systems
        for seed in range(4)
    ]
    questions.append(ask_gguf(client, 9))
    answers = client.ask(questions)
    for order in ([8, 3, 7, 2, 6, 1, 5, 0, 4], [4, 5, 6, 7, 8, 0, 1, 2, 3]):
        again = writing(gguf).ask([questions[i] for i in order])
        assert [answer.text for answer in again] == [answers[i].text for i in order]
    assert len({answer.text for answer in answers}) > 4


def test_candidates_get_the_log_probabilities_that_the_model_gives_them(llava: Path, tmp_path: Path) -> None:
    """Against the model's own forward pass; and from the cache, where no model is loaded."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    cache = Cache(tmp_path / "c.sqlite")
    client = seeing(llava, cache)
    request = look(client.model, candidates=("T", "F"), max_tokens=1)
    (answer,) = client.ask([request])
    found = json.loads(answer.text or "")
    processor, model = AutoProcessor.from_pretrained(llava), AutoModelForImageTextToText.from_pretrained(llava).eval()
    turns = [transformers_client._turn(message) for message in request.messages]
    inputs = processor.apply_chat_template(
        turns, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
    )
    with torch.inference_mode():
        expected = torch.log_softmax(model(**inputs).logits[0, -1].double(), -1)
    for text in ("T", "F"):
        [token] = processor.tokenizer.encode(text, add_special_tokens=False)
        assert found[text] == pytest.approx(expected[token].item(), abs=1e-5)
        assert found[text] < 0
    assert (answer.completion_tokens, answer.prompt_tokens) == (1, inputs["input_ids"].shape[1])
    (again,) = seeing(llava, cache).ask([request])
    assert (again.cached, again.text) == (True, answer.text)
    (long,) = client.ask([look(client.model, candidates=("True",), max_tokens=1)])
    assert (long.lack, long.error) == ("refused", "'True' is 4 tokens of this model, and must be one")


def test_llamacpp_says_what_it_cannot_do(gguf: Path, tmp_path: Path) -> None:
    client = writing(gguf)
    (blind,) = client.ask([ask_gguf(client, 0, messages=(Message("user", ("look", picture(9))),))])
    assert (blind.lack, blind.error) == ("refused", "the model reads text only")
    (cut,) = client.ask([ask_gguf(client, 0, max_tokens=3)])
    assert (cut.lack, cut.error) == ("empty", "the answer was cut off at max_tokens")
    (long,) = client.ask([ask_gguf(client, 0, messages=(Message("user", ("long " * 5000,)),))])
    assert long.lack == "refused"
    assert "context" in (long.error or "")
    (tmp_path / "text.gguf").write_text("no model")
    for path, words in (("text.gguf", "no GGUF file"), ("none.gguf", "no such file")):
        with pytest.raises(BadRobotError, match=words):
            LlamaCppClient(ModelSettings(kind="llamacpp", path=path), tmp_path)
    (tmp_path / "half.gguf").write_bytes(gguf.read_bytes()[:2000])
    broken = writing(tmp_path / "half.gguf")
    with pytest.raises(BadRobotError, match="cannot load it"):
        broken.ask([ask_gguf(broken, 0)])


def test_smollm2_comes_out_of_its_package() -> None:
    pytest.importorskip("xllamacpp", reason="the extra llamacpp is not installed")
    try:
        client = LlamaCppClient(ModelSettings(kind="llamacpp", path="smollm2"))
    except BadRobotError as error:
        pytest.skip(str(error))
    assert client.model == "SmolLM2-135M-Instruct.Q4_1#b179c9523d0e"
    (answer,) = client.ask([ask_gguf(client, 1, max_tokens=60)])
    assert set(json.loads(answer.text or "")) == {"category", "n"}
