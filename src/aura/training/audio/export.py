"""Write the voice network as ONNX, with its card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aura.detectors.audio import MODEL
from aura.training.audio.fit import fit, load
from aura.training.audio.prepare import CLEAN, WORN
from aura.training.audio.sounds import recordings
from aura.training.linear import Network, publish

if TYPE_CHECKING:
    from pathlib import Path

KEPT = "voice.npz"  # in the folder of the run
# Mean AUC of the five left-out families on clean sound, seen on the way with the same folds, in
# part on fewer recordings: to be compared within a row only.
TRIED = {
    "the measures alone / and their differences from the same second with other phases / and "
    "Whisper features, 329 recordings": [0.730, 0.786, 0.845],
    "Whisper features alone / less those of the same sound with other phases, 329 recordings": [
        0.771,
        0.636,
    ],
    "without fakes of our own / with one remade twin of each recording in corpora without fakes, "
    "758 recordings, Whisper features and measures": [0.806, 0.825],
    "the measures, without / with mel, phase, smooth, LPC and WORLD twins of every recording, 758 "
    "recordings: such twins are unlike neural vocoders": [0.732, 0.694],
    "those twins, and a loss on pairs besides": [0.694, 0.708],
    "linear / RBF support vectors / two layers of 64, all recordings": [0.819, 0.826, 0.813],
    "trained on clean and as many heavily treated copies / with a tenth of the weight on milder "
    "ones and outliers clipped, all recordings": [0.806, 0.839],
    "without / with peaks of the long-term spectrum and of envelopes at hop rates": [0.843, 0.854],
}
LIMITS = (
    "Voices of modern GAN vocoders (HiFi-GAN, BigVGAN, Vocos) are told from real ones at AUC .67 "
    "when none like them was trained on; text-to-speech of today was not there to measure.",
    "At the shipped threshold six or seven in ten of synthetic voices by unknown generators pass.",
    "Absence of traces proves nothing: a low score is never counted towards a real voice.",
    "Heavy noise, echo and coding at low rates take traces away: they were not measured beyond "
    "AAC at 96 kb/s, Opus at 24 kb/s and a telephone's band.",
    "Trained and measured on demonstration pages of research, mostly read speech in English and "
    "Korean; other languages, shouting, singing and whispering were not looked at.",
    "Cut-and-paste of real recordings, and real voices beside a manipulated picture, leave "
    "nothing that it looks for.",
)


def train(data: Path, out: Path, config: dict[str, Any]) -> Path:
    """Fit on everything that may be learned from; writes `voice.npz`."""
    sounds = load(out, recordings(data), (CLEAN, WORN))
    return fit(sounds, sounds.to_learn(), config).save(out / KEPT)


def export(out: Path, figures: dict[str, Any], config: dict[str, Any], folder: Path) -> Path:
    """Write `audio-lite.onnx` and its card from the kept fit and the figures of `evaluate`."""
    card = {
        "name": MODEL,
        "version": "1.1.0",
        "architecture": "Logistic regression on 2030 values of a second of speech: spectrum, "
        "fine structure, envelope and phase agreement (439); how they differ from the same second "
        "with its phases guessed anew (439); mean, spread and step of Whisper features (1152)",
        "licence": "Apache-2.0",
        "inputs": {
            "voice": "(n, 2030) float32: aura.detectors.voice.measure beside "
            "aura.detectors.audio.hearing_of, one row a second of speech"
        },
        "outputs": {"logit": "(n,) above 0 towards synthetic, before `parameters`"},
        "parameters": figures["parameters"],
        "training": {
            "command": "python -m aura.training.audio prepare --out runs/audio, "
            "then the same with evaluate, train and export",
            "seed": "drawn from file and group names; the fit itself draws nothing",
            "config": config,
            "data": figures["data"],
            "tried": TRIED,
            "data_note": "Research use only; check the corpora's terms before any other use of "
            "the weights. Corpora without fakes got one remade twin a recording.",
        },
        "metrics": figures["metrics"],
        "limits": list(LIMITS),
    }
    return publish(Network.read(out / KEPT), card, folder)
