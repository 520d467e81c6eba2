"""The JSON schema of the report of results, as the package publishes it."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from fraudfl.results.facts import Results

RESULTS_SCHEMA_FILE = "results.schema.json"


def results_schema() -> dict[str, Any]:
    """The JSON schema of the report's `report.json`, as published in the package."""
    schema: dict[str, Any] = json.loads((resources.files("fraudfl.results") / RESULTS_SCHEMA_FILE).read_bytes())
    return schema


def made_results_schema() -> dict[str, Any]:
    """The JSON schema as it follows from the report's values; what is published must be equal to it."""
    schema = Results.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema
