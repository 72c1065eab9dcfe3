"""Aura: says, with evidence, whether a talking-head video is manipulated."""

__version__ = "0.1.0"
