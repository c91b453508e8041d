"""What a rollout is: the typed records that flow through every stage and into a release.

These classes are the one source of truth. The JSON Schemas in `schema/json/` are generated from them
(`python -m bad_robot_behavior.schema`), and so are the Arrow schemas of the parquet tables. `None` means unknown;
no field stands in for an unknown value with a default.

Units: seconds are file time (what a player shows) unless a name says otherwise; scores and progress lie in [0, 1];
rewards lie in [-1, 1]; hashes are lower-case hex SHA-256.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

SCHEMA_VERSION = "1.0.0"

# Python's $ also matches before a closing newline and JSON Schema's does not: the lengths close that gap.
Id = Annotated[
    str,
    Meta(
        pattern="^[0-9a-f]{20}$",
        min_length=20,
        max_length=20,
        description="first 80 bits of a SHA-256, lower-case hex",
    ),
]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", min_length=64, max_length=64)]
Fingerprint = Annotated[str, Meta(pattern="^([0-9a-f]{16})+(?!\n)$")]
Unit = Annotated[float, Meta(ge=0, le=1)]
Signed = Annotated[float, Meta(ge=-1, le=1)]
Seconds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Text = Annotated[str, Meta(min_length=1)]

Role = Literal["exterior_1", "exterior_2", "wrist"]
ROLES: tuple[Role, ...] = get_args(Role)
TaskCategory = Literal["pick_place", "push_pull", "open_close", "stack", "reorient", "pour", "tool_use", "other"]
Outcome = Literal["success", "success_suboptimal", "success_side_effect", "failure", "unknown"]
Severity = Literal["none", "low", "medium", "catastrophic"]
AnnotatorType = Literal["human", "llm", "simulator", "rule"]
CurveKind = Literal["progress", "reward"]
CurveProvenance = Literal["self_distilled", "sampled", "simulator", "human", "edit"]
Choice = Literal["a", "b", "tie"]
Selection = Literal["paired", "all_pairs"]
SampleVerdict = Literal["kept", "smaller_margin", "disagrees", "unreadable", "not_usable"]
Stage = Literal["source", "screen", "license", "scrub", "distill", "reward", "split", "package"]
SplitName = Literal["train", "validation", "test"]
RejectionSubject = Literal["rollout", "session", "preference", "critique", "reward_curve"]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all records: immutable, keyword-only, closed to unknown fields."""


class Video(Record, frozen=True, kw_only=True):
    """One camera's video of a rollout."""

    camera: Annotated[Text, Meta(description="the source's own name of the camera")]
    path: Annotated[
        str | None,
        Meta(description="where the file lies: relative to the release; null where the bytes are in config `videos`"),
    ]
    width: Annotated[int, Meta(gt=0, description="pixels")]
    height: Annotated[int, Meta(gt=0, description="pixels")]
    fps: Annotated[float, Meta(gt=0, description="frames per second of file time")]
    capture_hz: Annotated[
        Positive | None,
        Meta(description="frames per second of real time; RoboArena records at 15 Hz and writes at 10 fps"),
    ] = None
    num_frames: Annotated[int, Meta(gt=0, description="frames counted in the stream, not read from the header")]
    codec: Text
    size_bytes: Annotated[int, Meta(gt=0)]
    sha256: Sha256


class Videos(Record, frozen=True, kw_only=True):
    """The views of one rollout by role. At least one is there."""

    exterior_1: Video | None = None
    exterior_2: Video | None = None
    wrist: Video | None = None


class Failure(Record, frozen=True, kw_only=True):
    """One thing that went wrong in a rollout. Category and kind are slugs of taxonomy.yaml; `unknown` is legal."""

    category: Text
    kind: Text
    severity: Severity | None = None
    start_s: Seconds | None = None
    end_s: Seconds | None = None
    description: Annotated[
        str | None, Meta(description="what went wrong; the distiller's are free of names, places, labels and numbers")
    ] = None
    span: Annotated[str | None, Meta(description="the words of the feedback that it rests on, verbatim")] = None
    source_label: Annotated[str | None, Meta(description="the source's own label, verbatim")] = None
    annotator: Annotated[Text, Meta(description="pseudonym, model name, simulator name or rule id")]
    annotator_type: AnnotatorType
    observable: Annotated[bool | None, Meta(description="can a camera see it")] = None
    mapping_version: Annotated[Text, Meta(description="version of taxonomy.yaml that category and kind belong to")]


class Critique(Record, frozen=True, kw_only=True):
    """What the distiller made of the feedback, for one rollout."""

    text: Text
    attributed_spans: Annotated[
        tuple[Text, ...], Meta(description="the sentences of the feedback that the critique rests on, verbatim")
    ]
    general: Annotated[
        str | None, Meta(description="what went wrong in words that fit any session; what a demonstration shows")
    ] = None
    model: Text
    prompt_sha256: Sha256 | None


class RewardCurve(Record, frozen=True, kw_only=True):
    """Values per sampled frame of one camera."""

    name: Text
    kind: CurveKind
    scorer: Text
    model: str | None
    role: Role
    frame_index: tuple[Count, ...]
    value: tuple[Signed, ...]
    provenance: CurveProvenance
    samples: Annotated[Count | None, Meta(description="how many samples were drawn (m)")] = None
    kept_sample: Annotated[Count | None, Meta(description="index of the sample kept; null where none agreed")] = None
    margin: Annotated[
        float | None, Meta(description="difference of the mean values of preferred and rejected, kept sample")
    ] = None
    agreement: Annotated[
        Literal["match", "no_match", "not_usable"] | None,
        Meta(description="did any sample order the pair as the human did; not_usable: tie or no partner"),
    ] = None
    preferred: Annotated[
        bool | None, Meta(description="did the human prefer this rollout in the pair that it was judged by")
    ] = None


class RewardSample(Record, frozen=True, kw_only=True):
    """One answer of a model about one rollout, kept or not: a row of table `reward_samples`."""

    sample_id: Id
    rollout_id: Id
    session_id: Id
    split: SplitName | None = None
    task_category: TaskCategory
    scorer: Text
    model: Text
    sample: Annotated[Count, Meta(description="its number among the m samples of the rollout, from 0")]
    role: Role
    frame_index: tuple[Count, ...] | None
    value: Annotated[tuple[Unit, ...] | None, Meta(description="progress; null where the answer could not be read")]
    mean: Annotated[Unit | None, Meta(description="mean of value: the return by which pairs are ordered")]
    error: Annotated[str | None, Meta(description="why there is no value")]
    pair_id: Annotated[
        Id | None, Meta(description="the pair that the rollout is judged by; null: it stands in no usable one")
    ]
    preferred: Annotated[bool | None, Meta(description="did the human prefer this rollout in that pair")]
    margin: Annotated[
        float | None,
        Meta(
            description="mean of the preferred minus mean of the rejected: with the partner's sample of the same "
            "number, or, where all pairs are compared, with that sample of the partner that makes it largest"
        ),
    ]
    verdict: Annotated[
        SampleVerdict,
        Meta(
            description="kept: its margin is the largest; smaller_margin: it agrees with the human, another by more; "
            "disagrees: it orders the pair otherwise, or calls it equal; unreadable: it has no value, or nothing to "
            "be compared with; not_usable: the rollout stands in no usable pair"
        ),
    ]


class Estimate(Record, frozen=True, kw_only=True):
    """A number and its 95 % interval by bootstrap over sessions. Null: undefined, or too few sessions for one."""

    value: float | None
    interval: tuple[float, float] | None


class Agreement(Record, frozen=True, kw_only=True):
    """How often samples order the pairs of one group of task categories as the human did."""

    category: Text
    pairs: Annotated[Count, Meta(description="usable pairs with at least one sample of each rollout")]
    sessions: Count
    first: Annotated[Estimate, Meta(description="before selection: share of pairs that their first sample orders so")]
    every: Annotated[Estimate, Meta(description="before selection: share over all samples of all pairs")]
    kept: Annotated[Estimate, Meta(description="after selection: share of pairs for which a sample was kept")]
    control: Annotated[
        Estimate, Meta(description="the share that would be kept if the human's choice were a coin's, in expectation")
    ]
    beyond_control: Annotated[Estimate, Meta(description="kept - control, on the same draws of sessions")]
    no_match: Annotated[Count, Meta(description="pairs for which no sample agrees with the human")]


class RewardQuality(Record, frozen=True, kw_only=True):
    """reward_quality.json: what self-distillation came to, and how much of it is noise."""

    scorer: Text
    model: Text
    selection: Selection
    samples: Annotated[Count, Meta(description="answers drawn for each rollout (m)")]
    rollouts: Count
    sessions: Count
    samples_drawn: Count
    samples_unreadable: Count
    agreement: tuple[Agreement, ...]
    flips: Annotated[
        Estimate, Meta(description="how often two samples of one pair disagree on whether the human was right")
    ]
    flips_pairs: Annotated[Count, Meta(description="pairs with two samples or more")]
    spread_return: Annotated[
        Estimate, Meta(description="standard deviation of the return over the samples of a rollout, on average")
    ]
    spread_frame: Annotated[
        Estimate, Meta(description="standard deviation of one frame's value over the samples of a rollout, on average")
    ]
    spread_rollouts: Annotated[Count, Meta(description="rollouts with two samples or more")]
    by_sample: Annotated[
        tuple[float | None, ...], Meta(description="for each k, the share of pairs that sample k alone orders right")
    ]
    noise_floor: Annotated[
        float | None,
        Meta(description="standard deviation of by_sample: two runs of the same input differ by as much"),
    ]
    draws: Count
    seed: int


class Detector(Record, frozen=True, kw_only=True):
    """A kind of privacy check, and whether it ran on this rollout. One that this version lacks is listed as not run."""

    name: Text
    version: str | None
    ran: bool
    reason: Annotated[
        str | None, Meta(description="why it did not run: the recipe's words, or that this version has none")
    ] = None
    settings: Annotated[str | None, Meta(description="thresholds it ran with: JSON object")] = None


class Finding(Record, frozen=True, kw_only=True):
    """Personal data of one kind that was found in one place of a rollout and taken out. Never the value itself."""

    kind: Annotated[Text, Meta(description="as in the placeholder, such as EMAIL or PERSON")]
    place: Annotated[Text, Meta(description="name of the field")]
    count: Annotated[int, Meta(ge=1)]
    mark: Annotated[
        Annotated[str, Meta(pattern="^[0-9a-f]{8}$", min_length=8, max_length=8)] | None,
        Meta(description="32 bits of the value's HMAC under the key of the pseudonyms; null: there is no key"),
    ] = None


class Privacy(Record, frozen=True, kw_only=True):
    """What the scrub stage did to one rollout."""

    faces_found: Annotated[
        Count | None, Meta(description="boxes on the frames looked at, over all cameras; null: no detector ran")
    ]
    frames_masked: Annotated[
        Count | None, Meta(description="for faces or text, over all cameras; null: nothing looked at the pictures")
    ]
    text_redactions: Count
    audio_removed: Annotated[bool, Meta(description="an audio track was there and is gone")]
    metadata_removed: Annotated[bool, Meta(description="container tags were there and are gone")]
    detectors: tuple[Detector, ...]
    findings: Annotated[tuple[Finding, ...], Meta(description="what was found in text, and where")] = ()
    verdict: Annotated[
        Literal["clean", "redacted", "not_fully_checked"],
        Meta(description="clean: all ran, nothing found; not_fully_checked: a detector in the list did not run"),
    ]


class DetectorRuns(Detector, frozen=True, kw_only=True):
    """A detector over a whole release."""

    rollouts: Annotated[Count, Meta(description="on how many it ran, or did not run, so")]


class FindingCount(Record, frozen=True, kw_only=True):
    """How often something was found in one place, over a whole release."""

    kind: Text
    place: Text
    count: Annotated[int, Meta(ge=1)]
    rollouts: Annotated[int, Meta(ge=1)]


class PrivacyReport(Record, frozen=True, kw_only=True):
    """privacy.json: what the scrub stage did to the rollouts of a release, added up."""

    rollouts: Count
    unscrubbed: Annotated[Count, Meta(description="rollouts without a privacy record: nothing in them was checked")]
    verdicts: Annotated[dict[str, Count], Meta(description="rollouts by the verdict of their privacy record")]
    faces_found: Count | None
    frames_masked: Count | None
    audio_removed: Annotated[Count, Meta(description="rollouts of which a video had sound")]
    metadata_removed: Annotated[Count, Meta(description="rollouts of which a video had tags")]
    detectors: tuple[DetectorRuns, ...]
    findings: tuple[FindingCount, ...]


class Synthetic(Record, frozen=True, kw_only=True):
    """How a rollout was made, where no robot made it."""

    generator: Text
    injector: str | None
    parameters: Annotated[str, Meta(description="JSON object")]
    seed: int | None


class Took(Record, frozen=True, kw_only=True):
    """What the questions to a model and the answers that are used took; failed attempts are in a build's report."""

    requests: Annotated[Count, Meta(description="different questions: those of samples that share one count once")]
    answers: Annotated[Count, Meta(description="answers that could be used")]
    prompt_tokens: Annotated[
        Count | None, Meta(description="of the questions, as the model's server counts; null: it does not say")
    ]
    completion_tokens: Annotated[Count | None, Meta(description="of the answers, as the model's server counts")]
    cost: Annotated[
        NotNegative | None, Meta(description="by the prices in the recipe, in their currency; null: it has none")
    ] = None


class Asked(Took, frozen=True, kw_only=True):
    """What a stage asked of a model about a rollout."""

    stage: Stage
    model: Text
    rollouts: Annotated[
        int, Meta(ge=1, description="how many rollouts of the session it was asked about together; each says the same")
    ] = 1


class Provenance(Record, frozen=True, kw_only=True):
    """Where the bytes came from."""

    raw_sha256: Annotated[tuple[Sha256, ...], Meta(description="of the raw video files, in role order")]
    content_sha256: Annotated[
        tuple[Sha256, ...], Meta(description="of the decoded frames, in role order; survives a change of container")
    ] = ()
    fingerprint: Annotated[
        tuple[Fingerprint, ...],
        Meta(description="perceptual hash of each video in role order: 16 hex digits for each of 8 sampled frames"),
    ] = ()
    recipe_sha256: Sha256 | None
    engine_version: Text


class RolloutRow(Record, frozen=True, kw_only=True):
    """One attempt of one policy at one instruction: a row of table `rollouts`."""

    rollout_id: Id
    session_id: Id
    source: Annotated[Text, Meta(description="name of the source in the recipe, such as roboarena")]
    source_ref: Annotated[Text, Meta(description="the source's own session and episode ids")]
    split: SplitName | None = None
    site: Annotated[str | None, Meta(description="normalised institution")] = None
    evaluator: Annotated[str | None, Meta(description="keyed pseudonym")] = None
    policy: str | None = None
    robot: str | None = None
    instruction: Text
    instruction_key: Annotated[Text, Meta(description="normalised: case, spaces and trailing punctuation removed")]
    task_category: TaskCategory
    task_category_source: Annotated[Literal["rule", "llm", "human", "simulator"], Meta(description="who assigned it")]
    videos: Videos
    num_steps: Annotated[Count | None, Meta(description="control steps")] = None
    control_hz: Positive | None = None
    score: Annotated[Unit | None, Meta(description="a human's graded judgement")] = None
    success: bool | None = None
    outcome: Outcome
    failures: tuple[Failure, ...] = ()
    feedback: Annotated[str | None, Meta(description="scrubbed")] = None
    critique: Critique | None = None
    rewards: tuple[RewardCurve, ...] = ()
    reward: tuple[Signed, ...] | None = None
    reward_frame_index: tuple[Count, ...] | None = None
    license: Annotated[str | None, Meta(description="SPDX id")] = None
    attribution: str | None = None
    license_evidence: str | None = None
    privacy: Privacy | None = None
    synthetic: Synthetic | None = None
    asked: Annotated[tuple[Asked, ...], Meta(description="what asking models about this rollout took")] = ()
    provenance: Provenance


class Preference(Record, frozen=True, kw_only=True):
    """A human's choice between two rollouts of a session: a row of table `preferences`."""

    pair_id: Id
    session_id: Id
    rollout_a: Id
    rollout_b: Id
    preference: Choice
    feedback: str | None = None
    evaluator: str | None = None
    presented_first: Literal["a", "b"] | None = None
    split: SplitName | None = None


class Session(Record, frozen=True, kw_only=True):
    """What was said about a session as a whole. Each rollout carries its session until packaging."""

    session_id: Id
    feedback: str | None = None
    preferences: tuple[Preference, ...] = ()
    labels: Annotated[
        tuple[tuple[str, str], ...],
        Meta(description="(label, rollout_id): how the feedback names the rollouts, such as A and B"),
    ] = ()


class Rollout(RolloutRow, frozen=True, kw_only=True):
    """A rollout on its way through the stages: the row, and what becomes tables of its own at packaging."""

    session: Session
    trajectory: Annotated[
        str | None, Meta(description="path of a .npz with state, action, state_columns, action_columns; no pickles")
    ] = None
    samples: tuple[RewardSample, ...] = ()


class Column(Record, frozen=True, kw_only=True):
    """One column of a state or action array."""

    name: Text
    unit: str | None


class Trajectory(Record, frozen=True, kw_only=True):
    """A row of table `trajectories`. state and action are (T, D) float32; T counts control steps."""

    rollout_id: Id
    split: SplitName | None = None
    state: tuple[tuple[float, ...], ...]
    action: tuple[tuple[float, ...], ...]
    state_columns: tuple[Column, ...]
    action_columns: tuple[Column, ...]


class Demonstration(Record, frozen=True, kw_only=True):
    """A failed rollout prepared as an in-context example: a row of table `demonstrations`."""

    demonstration_id: Id
    rollout_id: Id
    session_id: Id
    split: SplitName | None = None
    level: Literal["text", "text_video", "text_video_dense"]
    task_category: TaskCategory
    instruction: Text
    instruction_key: Text
    text: Text
    role: Role | None = None
    frame_index: tuple[Count, ...] | None = None
    value: tuple[Signed, ...] | None = None
    kind: Annotated[CurveKind | None, Meta(description="what value is; null where there is none")] = None


class Rejection(Record, frozen=True, kw_only=True):
    """What was read and not packaged, or what a packaged rollout goes without, and why. Carries no personal data."""

    subject: RejectionSubject
    subject_id: Annotated[Id, Meta(description="id of the subject; of its rollout, for a critique or reward curve")]
    session_id: Id | None
    source: Text
    source_ref: Text
    stage: Stage
    code: Annotated[Text, Meta(description="id of the rule that was broken; docs/rules.md lists them")]
    detail: Text


class LicenseVerdict(Record, frozen=True, kw_only=True):
    """What is known of a source's licence, and what follows: a row of LICENSES.md."""

    source: Text
    license: Annotated[str | None, Meta(description="SPDX id; null: unknown, which blocks")]
    evidence: Annotated[str | None, Meta(description="where the statement stands")]
    checked: Annotated[str | None, Meta(description="date the evidence was read, ISO 8601")]
    attribution: str | None
    redistribution: bool | None
    derivatives: bool | None
    commercial: bool | None
    share_alike: Annotated[bool | None, Meta(description="must derivatives carry the same terms")] = None
    allowed: bool
    reason: Text


class Prediction(Record, frozen=True, kw_only=True):
    """A row of a predictions file: what a scorer said of one rollout."""

    rollout_id: Id
    role: Role | None = None
    frame_index: tuple[Count, ...]
    value: tuple[float, ...]
    model: Text
    parameters: Annotated[str, Meta(description="JSON object: everything the scorer was run with")]
    error: Annotated[
        str | None, Meta(description="why there is no curve (frame_index and value are empty then); null: it worked")
    ] = None
    instruction: Annotated[
        str | None, Meta(description="what the scorer was told, where that is not the rollout's own instruction")
    ] = None


class ReleaseFile(Record, frozen=True, kw_only=True):
    path: Text
    sha256: Sha256
    size_bytes: Count


class Counts(Record, frozen=True, kw_only=True):
    """The count identity of a build: rollouts_read = rollouts_packaged + rollouts_rejected."""

    rollouts_read: Count
    rollouts_packaged: Count
    rollouts_rejected: Count
    sessions: Count
    preferences: Count
    trajectories: Count
    demonstrations: Count
    reward_samples: Count = 0
    videos: Count
    rejections_by_code: dict[str, Count]
    rollouts_by_split: dict[str, Count]


class ModelUse(Record, frozen=True, kw_only=True):
    stage: Stage
    model: Text
    prompt_sha256: Sha256 | None
    parameters: dict[str, Any]
    took: Annotated[
        Took | None, Meta(description="the sum over the rollouts in the release; null: nothing was asked of it")
    ] = None


class ReleaseManifest(Record, frozen=True, kw_only=True):
    """release.json: what a release holds and what it was made with."""

    name: Text
    version: Annotated[str, Meta(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+(?!\n)$")]
    schema_version: Text
    taxonomy_version: Text
    engine_version: Text
    recipe: dict[str, Any]
    recipe_sha256: Sha256
    counts: Counts
    models: tuple[ModelUse, ...]
    licenses: tuple[LicenseVerdict, ...]
    waived_detectors: tuple[Detector, ...]
    video_layout: Literal["files", "shards"]
    configs: tuple[str, ...]
    files: tuple[ReleaseFile, ...]
