"""``python -m tests.soak [idle]``; see :mod:`tests.soak`."""

from __future__ import annotations

import argparse
import sys

from tests.soak import idle, run


def main() -> int:
    """Run what the command line names; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    commands = parser.add_subparsers(dest="command")
    run.add_arguments(parser)
    command = commands.add_parser("idle", help="hold streams open that say nothing")
    idle.add_arguments(command)
    arguments = parser.parse_args()
    return idle.run(arguments) if arguments.command == "idle" else run.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
