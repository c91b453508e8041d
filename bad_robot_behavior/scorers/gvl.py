"""GVL: a vision-language model says how far a task has got in each of a rollout's frames, shown in random order.

Method: Ma et al., "Vision Language Models are In-Context Value Learners" (arXiv 2411.04549). The first frame is shown
apart and declared to be 0 %; the others are shuffled, because a model that sees them in order answers with a rising
line whatever happens in them. One answer holds one number for each frame, and is put back into order here. The wording
is ours, in ten phrasings (vlm/prompts/gvl*.txt), because a number that hangs on the wording says little.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from bad_robot_behavior.errors import check_choice
from bad_robot_behavior.schema import CurveKind
from bad_robot_behavior.scorers.card import Card
from bad_robot_behavior.scorers.prompted import Prompted
from bad_robot_behavior.scorers.question import EXTRAS, EncodedClip, Example, answer_schema, ask_about, read_answer
from bad_robot_behavior.scorers.scorer import Clip, Curve
from bad_robot_behavior.vlm.answers import ask_checked, shared_usage
from bad_robot_behavior.vlm.client import Client, Request
from bad_robot_behavior.vlm.prompts import prompt_names, read_prompt

__all__ = ["GVL", "PHRASINGS", "EncodedClip", "Example"]

PHRASINGS: tuple[str, ...] = tuple(
    name for name in prompt_names() if name.split("_")[0] == "gvl" and name != EXTRAS.name
)
"""Names of the prompt files that ask the same question in other words."""

Cameras = Literal["first", "all"]

_TOKENS_PER_FRAME = 100
_SPARE_TOKENS = 500


class GVL(Prompted):
    """The scorer `gvl`: progress in [0, 1] per frame, value = percent / 100, 0 at the first frame.

    Deterministic but for the model: the order of the frames and the seed sent with a request come from
    (seed, rollout_id, sample), so a request that is made again is found in the cache. An answer that breaks the schema,
    counts wrongly, names a frame twice or leaves 0..100 is asked once more, then recorded as the curve's `error`; it is
    never rescaled, padded or cut.
    """

    name = "gvl"
    kind: CurveKind = "progress"
    needs_frames = True
    card: Card = Card(
        title="GVL, shuffled frames",
        runs="model",
        base_model="any vision-language model",
        paper="arXiv 2411.04549",
        license="weights: those of the model",
        inputs="all frames in random order, the first apart; the instruction",
        output="progress in [0, 1] per frame",
        contaminated="unknown",
        evidence="nothing is trained for rewards; what the model behind it was trained on is up to the model",
        differs="worded by this package, in ten phrasings; docs/models.md",
    )

    def __init__(
        self,
        client: Client,
        num_frames: int = 30,
        image_size: int = 320,
        temperature: float = 0.0,
        seed: int = 0,
        prompt: str = "gvl",
        cameras: Cameras = "first",
        orders: int = 1,
    ) -> None:
        """`image_size` is the longer side in pixels. `prompt` is one of PHRASINGS, BadRobotError lists them.

        `cameras`: `first` shows one camera, the first that a clip has; `all` shows every moment through all of them,
        one after the other under one number. `orders` is how many orders of the frames the samples of one clip are
        spread over: samples that share an order are one request where the server can give several answers to it.
        """
        check_choice("prompt", prompt, PHRASINGS)
        super().__init__(
            client,
            read_prompt(prompt),
            num_frames=num_frames,
            image_size=image_size,
            temperature=temperature,
            seed=seed,
        )
        self.cameras: Cameras = cameras
        self.orders = orders

    @property
    def model(self) -> str:
        """What is asked, by its name at the endpoint."""
        return self.client.model

    def parameters(self) -> dict[str, Any]:
        """Everything that decides a curve, as JSON."""
        mine = {"cameras": self.cameras, "orders": self.orders, "prompt_extras_sha256": EXTRAS.sha256}
        return super().parameters() | mine

    def score(self, clips: list[Clip]) -> list[Curve]:
        """One curve for each clip. Raises EndpointError where the endpoint does not answer."""
        return [curves[0] for curves in self.sample_encoded([self.encode(clip) for clip in clips], 1)]

    def sample(self, clip: Clip, samples: int) -> list[Curve]:
        """`samples` curves of one clip, each with its own seed. The frames are encoded once. Raises EndpointError where
        the endpoint does not answer."""
        return self.sample_encoded([self.encode(clip)], samples)[0]

    def encode(self, clip: Clip, examples: Sequence[Example] = ()) -> EncodedClip:
        """The clip with its frames as JPEG, and what is to be shown before it. Raises ValueError for a clip without
        frames."""
        if clip.frames is None:
            raise ValueError(f"rollout {clip.rollout_id}: GVL needs the frames of the clip")
        others = clip.others if self.cameras == "all" else ()
        return EncodedClip(
            rollout_id=clip.rollout_id,
            instruction=clip.instruction,
            pictures=self.pictures(clip.frames),
            others=tuple(self.pictures(frames) for frames in others),
            examples=tuple(examples),
        )

    def sample_encoded(self, clips: Sequence[EncodedClip], samples: int) -> list[list[Curve]]:
        """For each clip `samples` curves, all asked for at once. Raises EndpointError as `sample` does."""
        asked = [pair for clip in clips if len(clip.pictures) > 1 for pair in self._questions(clip, samples)]
        orders = [order for order, _ in asked]
        requests = [request for _, request in asked]
        checked = ask_checked(self.client, requests, lambda i, text: read_answer(text, orders[i]))
        sharing = itertools.groupby(zip(requests, checked, strict=True), key=lambda pair: id(pair[0].messages))
        usages = (usage for _, pairs in sharing for usage in shared_usage([one for _, one in pairs]))
        found = (
            Curve(value=one.value, error=one.error, usage=usage) for one, usage in zip(checked, usages, strict=True)
        )
        short = Curve(value=None, error="the clip has fewer than 2 frames")
        return [
            [short] * samples if len(clip.pictures) < 2 else list(itertools.islice(found, samples)) for clip in clips
        ]

    def _questions(self, clip: EncodedClip, samples: int) -> Iterator[tuple[list[int], Request]]:
        """For each sample the order in which pictures 1.. are shown, and the request. Samples of one order follow each
        other and differ in their seeds alone, by one."""
        orders = min(self.orders, samples)
        for number in range(orders):
            digest = hashlib.sha256(f"gvl\x1f{self.seed}\x1f{clip.rollout_id}\x1f{number}".encode()).digest()
            chance = random.Random(digest)
            order = list(range(1, len(clip.pictures)))
            chance.shuffle(order)
            question = Request(
                model=self.client.model,
                messages=ask_about(clip, order, chance, self.prompt),
                temperature=self.temperature,
                max_tokens=_SPARE_TOKENS + _TOKENS_PER_FRAME * len(order),
                json_schema=answer_schema(len(order)),
            )
            first = int.from_bytes(digest[:4], "big") >> 2  # 30 bits: all seeds of an order fit into 31
            # ceil(k * samples / orders): orders share the samples as evenly as can be
            start, stop = (-(-k * samples // orders) for k in (number, number + 1))
            for sample in range(stop - start):
                yield order, msgspec.structs.replace(question, seed=first + sample)
