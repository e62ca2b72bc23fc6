"""`blear plugins`, `blear plugins show NAME`, `blear plugins new NAME`, `blear plugins check NAME`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from blear.commands.options import plugin_files
from blear.errors import PluginError

if TYPE_CHECKING:
    from blear.plugin.catalog import Catalog, Plugin


@click.group(invoke_without_command=True)
@plugin_files
@click.pass_context
def plugins(context: click.Context, files: tuple[str, ...]) -> None:
    """List plugins and their components."""
    context.obj = files
    if context.invoked_subcommand is not None:
        return
    from blear.plugin.discovery import load_plugins

    catalog = load_plugins(files)
    for plugin in catalog.plugins:
        _print_plugin(plugin, catalog)


def _print_plugin(plugin: Plugin, catalog: Catalog) -> None:
    click.echo(f"{plugin.name}  ({plugin.origin})")
    if plugin.problem:
        click.echo(f"    did not load: {plugin.problem}")
    for slot, components in catalog.components.items():
        for name, registered in components.items():
            if registered.plugin == plugin:
                click.echo(f"    {slot:<12}{name:<26}  {registered.component.summary}")


@plugins.command()
@click.argument("name")
@click.pass_obj
def show(files: tuple[str, ...], name: str) -> None:
    """Show a component: summary, parameters, examples. With the name of a plugin: list its components."""
    from blear.plugin.descriptions import component_parameters, format_use
    from blear.plugin.discovery import load_plugins

    catalog = load_plugins(files)
    found = [
        r for slot in catalog.components.values() for full, r in slot.items() if name in (full, full.split("/")[1])
    ]
    named = [plugin for plugin in catalog.plugins if plugin.name == name]
    for plugin in named:
        _print_plugin(plugin, catalog)
    if not found and not named:
        for slot in catalog.components:
            try:
                catalog.get(slot, name)
            except PluginError as error:
                closest = error
                if "did you mean" in error.do or "did not load" in error.what:
                    break
        raise PluginError(f"there is no component {name!r}", do=closest.do)
    for registered in found:
        click.echo(
            f"{registered.name}  ({registered.slot}, {registered.plugin.origin})\n{registered.component.summary}\n"
        )
        for parameter in component_parameters(registered.component):
            click.echo(f"    {parameter.name:<18}  {parameter.description} ({parameter.default})")
        for example in registered.component.examples:
            click.echo(f"\n    {format_use(registered.name, example)}")
        click.echo("")


@plugins.command()
@click.argument("name")
@click.option("--dataset", "slots", flag_value="dataset", multiple=True, help="Include a dataset.")
@click.option("--degradation", "slots", flag_value="degradation", multiple=True, help="Include a degradation.")
@click.option("--backbone", "slots", flag_value="backbone", multiple=True, help="Include a backbone.")
@click.option("--head", "slots", flag_value="head", multiple=True, help="Include a head.")
@click.option("--file", "one_file", is_flag=True, help="Write one file NAME.py and a job instead of a package.")
@click.option(
    "--in",
    "folder",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder to write into. Default: the working directory.",
)
def new(name: str, slots: tuple[str, ...], one_file: bool, folder: Path) -> None:
    """Write a new plugin with one working component of each chosen kind; without a choice, of all four kinds."""
    from blear.plugin.scaffold.new import write_file, write_package

    written = (write_file if one_file else write_package)(name, slots, folder)
    for path in written:
        click.echo(path)
    if one_file:
        click.echo(f"next: blear plugins check {written[0]}; blear run {written[1]}")
    else:
        click.echo(f"next: pip install --editable {written[0]}; blear plugins check {name}")


@plugins.command()
@click.argument("name")
@click.argument("components", nargs=-1)
@click.option("-q", "--quiet", is_flag=True, help="Print failures only.")
def check(name: str, components: tuple[str, ...], quiet: bool) -> None:
    """Check the components of a plugin (its name, or a file NAME.py) against the contracts. Exit code 1: failures."""
    from blear.testing import NonconformityError, NotCheckedError, checks_of

    failed = skipped = 0
    checks = checks_of(name, only=components)
    for one in checks:
        try:
            one()
        except NonconformityError as error:
            failed += 1
            click.secho(f"FAILS    {one}\n         {error}", fg="red")
        except NotCheckedError as reason:
            skipped += 1
            if not quiet:
                click.echo(f"skipped  {one}: {reason}")
        else:
            if not quiet:
                click.echo(f"ok       {one}")
    click.echo(f"{len(checks) - failed - skipped} ok, {failed} failed, {skipped} not checked")
    sys.exit(1 if failed else 0)


@plugins.command()
@click.argument("names", nargs=-1)
@click.pass_obj
def docs(files: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Print a Markdown page of the components of all plugins, or of the named ones."""
    from blear.plugin.descriptions import components_page
    from blear.plugin.discovery import load_plugins

    click.echo(components_page(load_plugins(files), names), nl=False)
