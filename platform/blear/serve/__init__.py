"""A local page and a JSON API for models: `blear serve`, and `serve run blear.serve:app` on Ray Serve."""

from typing import Any

__all__ = ["app"]


def __getattr__(name: str) -> Any:
    """Imports `app` when Ray Serve asks for it: Ray and the web framework are optional."""
    if name != "app":
        raise AttributeError(f"module 'blear.serve' has no attribute {name!r}")
    from blear.serve.ray_app import app

    return app
