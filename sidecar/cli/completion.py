"""``sidecar completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(short_help="Print what makes a shell complete.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script by which a shell completes commands, options and files.

    \b
    bash, in ~/.bashrc:   eval "$(sidecar completion bash)"
    zsh, in ~/.zshrc:     eval "$(sidecar completion zsh)"
    fish:                 sidecar completion fish > ~/.config/fish/completions/sidecar.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(context.find_root().command, {}, "sidecar", "_SIDECAR_COMPLETE").source())
