"""`blear serve [MODEL...]`."""

from __future__ import annotations

from pathlib import Path

import click

from blear.commands.options import FiniteRange

_CONNECTIONS = 1024  # at one time; more get status 503


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="address to listen at")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0: any free port")
@click.option("--token", help="secret that every request must send; with another --host, default: a random one")
@click.option("--facts", multiple=True, metavar="KEY=VALUE", help="fact of a network of others, as of blear predict")
@click.option("--controls", type=click.Path(path_type=Path), help="YAML of the sliders; default: that of blear")
@click.option("--locator", metavar="NAME", help="face detector: a registered locator or module:attr")
@click.option(
    "--margin",
    type=FiniteRange(0),
    help="margin of the square around a face; needed where a model does not state how faces were cut",
)
def serve(
    models: tuple[str, ...],
    host: str,
    port: int,
    token: str | None,
    facts: tuple[str, ...],
    controls: Path | None,
    locator: str | None,
    margin: float | None,
) -> None:
    """Serve a page on this machine to try models: pictures, videos, camera, and sliders that degrade the face.

    Each MODEL is a run, a model folder, a weights or ONNX file, or a shipped model; default: the model in the package
    of blear. Several models are shown side by side. The JSON API is described at /docs. No file is kept.
    """
    from blear.errors import RunError

    try:
        import uvicorn

        from blear.serve.web import LOCAL, build_app, require_secret
    except ImportError as error:
        raise RunError(f"{error.name} is not installed", do="pip install 'blear[serve]'") from error
    import secrets
    import socket
    from urllib.parse import quote

    from blear.serve.controls import DEFAULT
    from blear.serve.settings import ServeSettings

    require_secret(token)
    if token is None and host not in LOCAL:
        token = secrets.token_urlsafe(24)
    settings = ServeSettings(models, controls or DEFAULT, locator, margin, facts)
    service = settings.build_service()
    app = build_app(lambda: service, list(service.controls), token)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise RunError(f"cannot listen at {host}:{port}: {error.strerror}", do="choose another --port") from error
        listening.listen(1024)
        shown = f"[{host}]" if ":" in host else host
        query = "" if token is None else f"?token={quote(token, safe='')}"
        click.echo(f"http://{shown}:{listening.getsockname()[1]}/{query}  (Ctrl-C ends)")
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_keep_alive=30, limit_concurrency=_CONNECTIONS
        )
        uvicorn.Server(config).run([listening])
