"""`blear plugins` and `blear plugins show NAME`."""

from __future__ import annotations

import json

import click

from blear.errors import PluginError


@click.group(invoke_without_command=True)
@click.pass_context
def plugins(context: click.Context) -> None:
    """List plugins and their components."""
    if context.invoked_subcommand is not None:
        return
    from blear.plugins import load

    catalog = load()
    for plugin in catalog.plugins:
        click.echo(f"{plugin.name}  ({plugin.origin})")
        if plugin.problem:
            click.echo(f"    did not load: {plugin.problem}")
        for slot, components in catalog.components.items():
            for name, registered in components.items():
                if registered.plugin == plugin:
                    click.echo(f"    {slot:<12}{name:<28}{registered.component.summary}")


@plugins.command()
@click.argument("name")
def show(name: str) -> None:
    """Show one component: what it is, its parameters, examples."""
    from blear.plugins import load

    catalog = load()
    found = [
        r for slot in catalog.components.values() for full, r in slot.items() if name in (full, full.split("/")[1])
    ]
    if not found:
        for slot in catalog.components:
            try:
                catalog.get(slot, name)
            except PluginError as error:
                closest = error
                if "did you mean" in error.do or "did not load" in error.what:
                    break
        raise PluginError(f"there is no component {name!r}", do=closest.do)
    for registered in found:
        component = registered.component
        click.echo(f"{registered.name}  ({registered.slot}, {registered.plugin.origin})\n{component.summary}\n")
        schema = component.params.model_json_schema()
        required = schema.get("required", [])
        for key, field in schema.get("properties", {}).items():
            default = "required" if key in required else f"default {json.dumps(field.get('default'))}"
            click.echo(f"    {key:<20}{field.get('description', '')} ({default})")
        for example in component.examples:
            click.echo(
                f"\n    {{use: {registered.name}{''.join(f', {k}: {json.dumps(v)}' for k, v in example.items())}}}"
            )
        click.echo("")
