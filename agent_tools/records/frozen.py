"""The base of everything that a record is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Base of every part of a record: immutable, and an unknown key is an error (a record is never half understood).

    NaN and infinities are written as the strings "NaN" and "Infinity", so that the files stay standard JSON.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")
