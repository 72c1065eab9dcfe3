"""What all parts of a report are made of: frozen, strict, with numbers that stay as written."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

DIGITS = 6  # float32 networks carry no more; the rest would only be noise in a comparison


def tidy(value: float) -> float:
    """Round to `DIGITS`, and -0.0 to 0.0."""
    return round(value, DIGITS) + 0.0


def _showable(value: object) -> object:
    """A path with bytes that are no UTF-8 as text that JSON can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return value


FileText = Annotated[str, BeforeValidator(_showable)]
Number = Annotated[float, AfterValidator(tidy)]
Score = Annotated[float, Field(ge=0, le=1), AfterValidator(tidy)]
Signed = Annotated[float, Field(ge=-1, le=1), AfterValidator(tidy)]
Seconds = Number
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Part(BaseModel):
    """A part of a report: no unknown fields, no changes, no NaN."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
