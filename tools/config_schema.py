"""Publishes the settings as JSON schema: `python -m tools.config_schema` writes docs/config.schema.json."""

import json
from pathlib import Path

from postil.config import RunConfig

PUBLISHED = Path(__file__).parents[1] / "docs" / "config.schema.json"


def render_schema() -> str:
    """The schema as it stands in the file, every setting with its sentence."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **RunConfig.model_json_schema()}
    return json.dumps(schema, ensure_ascii=False, indent=2) + "\n"


if __name__ == "__main__":
    PUBLISHED.write_text(render_schema(), encoding="utf-8")
