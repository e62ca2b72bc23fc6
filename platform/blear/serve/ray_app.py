"""The application on Ray Serve: `serve run blear.serve:app models=robust-faces,runs/vlqr token=SECRET`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application

from blear.errors import RunError
from blear.serve.settings import ServeSettings
from blear.serve.web import build_app, require_secret

_KEYS = ("models", "token", "locator", "margin", "replicas", "cpus")


def app(arguments: Mapping[str, str]) -> Application:
    """Builds the application for `serve run`.

    Args:
        arguments: `models`: names, separated by commas; `token`: without it, only requests to an address of the
            proxy's own machine are answered; `locator`, `margin`: as of `blear serve`; `replicas`: number of replicas;
            `cpus`: CPUs that a replica reserves, by default 1.

    Raises:
        RunError: an argument is unknown, or is no number.
    """
    unknown = sorted(set(arguments) - set(_KEYS))
    if unknown:
        raise RunError(f"there is no argument {unknown[0]!r}", "blear.serve:app", f"use: {', '.join(_KEYS)}")
    models = tuple(name.strip() for name in arguments.get("models", "").split(",") if name.strip())
    try:
        margin = float(arguments["margin"]) if "margin" in arguments else None
        replicas, cpus = int(arguments.get("replicas", 1)), float(arguments.get("cpus", 1))
    except ValueError as error:
        do = "give numbers for margin, replicas and cpus"
        raise RunError(f"an argument is no number: {error}", "blear.serve:app", do) from error
    settings = ServeSettings(models, locator=arguments.get("locator"), margin=margin)
    token = arguments.get("token")
    require_secret(token)

    def build() -> FastAPI:  # Ray Serve calls it in each replica; it must be a function
        return build_app(settings.build_service, settings.read_controls(), token)

    deployment: Any = serve.deployment(serve.ingress(build)())
    return deployment.options(
        name="blear",
        num_replicas=replicas,
        ray_actor_options={"num_cpus": cpus},
    ).bind()
