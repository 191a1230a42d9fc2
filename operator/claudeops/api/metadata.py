"""The part of ``metadata`` that the product reads."""

from __future__ import annotations

from pydantic import ConfigDict

from claudeops.api.part import Part


class Metadata(Part):
    """``metadata`` as far as it is used here; whatever else the API server keeps there is left alone."""

    model_config = ConfigDict(extra="ignore")

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
