"""Motion traces of manipulated faces: made from real clips, measured, fitted, exported.

    python -m aura.training.temporal prepare  --data DATA --out RUN
    python -m aura.training.temporal evaluate --data DATA --out RUN
    python -m aura.training.temporal train    --data DATA --out RUN
    python -m aura.training.temporal export   --out RUN

`pieces` cuts real clips into short pieces, `fakes` makes fakes of them and controls that went
through all but the lie, `prepare` measures both after coding, `fit` and `evaluate` cross-fit by
the people in them.
"""
