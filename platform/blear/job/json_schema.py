"""The JSON schema of job files, for editors."""

from __future__ import annotations

from typing import Any

from blear.job.schema import Job
from blear.plugin.catalog import Catalog, RegisteredComponent

_SLOT_OF = {
    "Data": "dataset",
    "FallbackData": "dataset",
    "DegradationUse": "degradation",
    "Sweep": "degradation",
    "BackboneUse": "backbone",
    "HeadUse": "head",
    "WeightedHeadUse": "head",
}
_PLACEHOLDER = {"type": "string", "pattern": r"^\{\w+\}$", "description": "a value of the entry's matrix"}


def json_schema(catalog: Catalog) -> dict[str, Any]:
    """Returns the JSON schema of job files, with the parameters of every installed component."""
    schema = Job.model_json_schema()
    definitions = schema["$defs"]
    for name, slot in _SLOT_OF.items():
        base = definitions[name]
        shared = {key: value for key, value in base["properties"].items() if key != "use"}
        choices = [
            _choice(catalog, registered, shared, definitions) for registered in catalog.components[slot].values()
        ]
        definitions[name] = {"description": base["description"], "oneOf": choices}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


def _choice(
    catalog: Catalog, registered: RegisteredComponent, shared: dict[str, Any], definitions: dict[str, Any]
) -> dict[str, Any]:
    """Returns the schema of `{use: NAME, ...}` for one component, and adds its nested models to the definitions."""
    prefix, short = registered.name.replace("/", "."), registered.name.split("/")[1]
    own = registered.component.params.model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}")
    definitions |= {f"{prefix}.{key}": value for key, value in own.get("$defs", {}).items()}
    unique = sum(full.endswith(f"/{short}") for full in catalog.components[registered.slot]) == 1
    # `stand_in` replaces a dataset without source, and `over` gives a swept parameter
    required = [key for key in own.get("required", []) if not ({"source", "over"} & shared.keys())]
    properties = {key: {"anyOf": [field, _PLACEHOLDER]} for key, field in own.get("properties", {}).items()}
    shared = {key: field for key, field in shared.items() if key != "p" or "p" not in properties}
    return {
        "title": registered.name,
        "description": registered.component.summary,
        "type": "object",
        "properties": properties
        | shared
        | {"use": {"enum": [registered.name, short] if unique else [registered.name]}},
        "required": ["use", *required],
        "additionalProperties": False,
    }
