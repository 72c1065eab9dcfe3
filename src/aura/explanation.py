"""The parts of a report that show why, and who vouches for it.

They change no number of the verdict. Pictures lie beside the report and are named with their
SHA-256, so that a signature over the report covers them.
"""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from aura.document import FileText, Number, Part, Score, Seconds, Sha256, Signed


class Picture(Part):
    """A picture file beside the report."""

    file: str = Field(pattern=r"^[a-z0-9-]+\.png$")
    sha256: Sha256
    width: int
    height: int


class DeletionTest(Part):
    """Does the score hang on what the map marks? In logits of the detector, before calibration.

    `drop`: by how much the logit falls when the marked part of the face is blurred away.
    `elsewhere`: the same for regions of the same size and form in other places of the face.
    """

    drop: Number
    elsewhere: tuple[Number, ...]
    elsewhere_mean: Number
    share: Score
    """Of the face that is blurred away."""
    beaten: Score
    """Share of the other regions whose loss lowers the logit less; 0.5 is chance."""
    passed: bool


class SaliencyMap(Part):
    """Which places of one face raised one detector's logit: Grad-CAM on its last convolution.

    `cells` add up, with `bias`, to `logit`: the network averages over places, so its answer is a
    sum of places. The map shown is their positive part. `corners` are those of the face crop in
    fractions of the picture's width and height: left top, right top, right bottom, left bottom of
    the upright face; the cells fill that square evenly, row by row.
    """

    frame_id: int
    timestamp: Seconds
    subject: int
    flagged: bool
    """Whether the moment is one of the anomalous frames; false: merely the highest of a clip
    without any."""
    detector: str
    score: Score
    """The detector's calibrated score of this face."""
    logit: Number
    bias: Number
    cells: tuple[tuple[Number, ...], ...]
    corners: tuple[tuple[Number, Number], ...]
    deletion: DeletionTest
    randomised_similarity: Signed
    """Mean correlation with maps from a shuffled last layer; near 1 the map shows the picture and
    not what was learned."""
    reliable: bool
    words: str
    frame: Picture
    heat: Picture


class FaceBox(Part):
    """Where a face was on a sampled picture, in fractions of its width and height."""

    subject: int
    timestamp: Seconds
    box: tuple[Number, Number, Number, Number]
    """Left, top, right, bottom."""


class Spectrogram(Part):
    """The sound as a picture: time from left to right, low tones at the bottom (mel scale)."""

    picture: Picture
    start: Seconds
    end: Seconds
    low_hz: Number
    high_hz: Number
    speech: tuple[Score, ...]
    """P(speech) in equal steps from start to end, at most 400."""


class Explanation(Part):
    """Where and when, with what each picture shows and what it does not."""

    method: str
    shows: tuple[str, ...]
    does_not_show: tuple[str, ...]
    missing: tuple[str, ...]
    """What could not be explained, and why."""
    maps: tuple[SaliencyMap, ...]
    maps_reliable: int
    face_boxes: tuple[FaceBox, ...]
    face_boxes_total: int
    spectrogram: Spectrogram | None


class ContentCredentials(Part):
    """C2PA content credentials as the file carries them: kept apart, never part of a score.

    `status`: not_examined; absent; unread (a manifest is there, but nothing here can read it);
    invalid (it does not fit the file, or is broken); valid (it fits, its signer is not known here);
    trusted (it fits, and its signer is on the reader's list). All other fields are what the
    manifest claims.
    """

    status: str = Field(
        default="not_examined", pattern="^(not_examined|absent|unread|invalid|valid|trusted)$"
    )
    words: str = "The file was not searched for content credentials."
    reader: str | None = None
    generator: FileText | None = None
    title: FileText | None = None
    signer: FileText | None = None
    signed_at: FileText | None = None
    actions: tuple[FileText, ...] = ()
    problems: tuple[FileText, ...] = ()


class Signature(Part):
    """Who vouches for this report: Ed25519 (RFC 8032) over its canonical JSON (RFC 8785).

    Everything is covered, this part included, but for `value`. `public_key` (32 bytes) and `value`
    (64 bytes) are Base64; `key_id` is the SHA-256 of the public key.
    """

    algorithm: str = Field(default="Ed25519", pattern="^Ed25519$")
    key_id: Sha256
    public_key: str
    signed_by: FileText
    signed_at: AwareDatetime
    value: str = ""
