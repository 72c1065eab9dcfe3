"""Perturbations of prepared clips: the same damage as whole videos get, done to faces and speech.

A prepared clip holds aligned faces of 224 pixels, so that a blur of so many pixels is stronger on a
face that was small in its video, and weaker on one that was large. Flow is measured anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from aura.evaluation.perturbations import CONTROL, PERTURBATIONS
from aura.evaluation.recode import CLEAR_CRF, recoded_pictures
from aura.evaluation.robustness import seed_of
from aura.training.augment.cutting import refresh_motion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aura.training.contract.predict import ClipChange
    from aura.training.data.clip import Clip


def clip_change(name: str, level: int, *, motion: bool) -> ClipChange:
    """A function of (clip, its name) that gives the perturbed clip.

    Args:
        name, level: of `robustness.chosen`. motion: whether the network looks at flow.
    """

    def change(clip: Clip, called: str) -> Clip:
        random = np.random.default_rng(seed_of(name, level, called))
        if name == CONTROL:
            return _with_faces(clip, _recoded(clip, CLEAR_CRF), motion=motion)
        one = PERTURBATIONS[name]
        parameter = one.parameters[level - 1]
        if one.sound is not None:
            if not clip.has_sound:
                return clip
            samples = one.sound(clip.voice.samples, parameter, random)
            return replace(clip, voice=clip.voice._replace(samples=samples))
        if one.picture is not None:
            crops = [one.picture(crop, parameter, random) for crop in clip.faces.crops]
            faces = np.stack(crops) if crops else clip.faces.crops
            return _with_faces(clip, faces, motion=motion)
        return _with_faces(clip, _recoded(clip, parameter), motion=motion)

    return change


def _recoded(clip: Clip, crf: float) -> NDArray[np.uint8]:
    if len(clip.faces.crops) == 0:
        return clip.faces.crops
    return recoded_pictures(clip.faces.crops, clip.fps, crf)


def _with_faces(clip: Clip, crops: NDArray[np.uint8], *, motion: bool) -> Clip:
    changed = replace(clip, faces=clip.faces._replace(crops=crops))
    return refresh_motion(changed) if motion else changed
