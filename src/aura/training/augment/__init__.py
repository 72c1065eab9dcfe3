"""What happens to clips on their way to a detector: alike for real and fake.

`augment` draws one treatment a clip, blind to what the clip is. It changes no times: windows, spans
and speech probabilities stay where they were, and sound keeps its length and its place to within
what is said in `sound`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aura.errors import UsageError
from aura.training.augment.cutting import with_pictures, with_sound
from aura.training.augment.sound import treat_sound
from aura.training.augment.track import TrackTreatment

if TYPE_CHECKING:
    import numpy as np

    from aura.training.data.clip import Clip


def augment(
    clip: Clip, random: np.random.Generator, strength: float = 1.0, *, motion: bool = True
) -> Clip:
    """The clip as it might have reached us.

    Args:
        clip: real or fake, whole or a part (`cutting.part_of`): only what is there costs time.
        random: all chance comes from it; the same state gives the same bytes.
        strength: in [0, 1], scales how often each thing happens; 0 changes nothing.
        motion: compute the motion values of changed pictures anew, about 7 ms a picture. Without,
            they stay those of before: for a network that is shown none.

    Raises:
        UsageError: a strength that makes no sense.
    """
    if not 0.0 <= strength <= 1.0:
        raise UsageError(f"augmentation of strength {strength} makes no sense; give 0 to 1")
    if strength == 0.0:
        return clip
    faces = clip.faces
    if len(faces.times):
        treat = TrackTreatment(random, strength, faces.crops.shape[1])
        crops, landmarks = treat(faces.crops, clip.landmarks)
        clip = with_pictures(clip, crops, landmarks, motion=motion)
    if len(clip.voice.samples):
        clip = with_sound(clip, treat_sound(clip.voice.samples, random, strength))
    return clip
