"""The voice model: `python -m aura.training.audio STEP --out DIR [--data DIR]`.

Steps: `prepare` (every recording, its re-syntheses, and damaged copies of both, measured once),
`evaluate` (figures on held-out generators and speakers), `train` (on everything) and `export`.
Only what makes, measures and publishes this model lives here.
"""
