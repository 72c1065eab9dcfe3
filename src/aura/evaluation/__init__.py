"""How good scores are on clips with known answers: `aura evaluate` and `aura compare`.

Whatever makes predictions writes one format (`predictions.py`); tables, plots, the page and the
comparison read nothing else. Nothing here knows PyTorch: checkpoints are run by
`training/contract/predict.py`, which writes the same format.
"""

from __future__ import annotations

from aura.evaluation.clips import LabelledClip, family_of, labelled_clips

__all__ = ["LabelledClip", "family_of", "labelled_clips"]
