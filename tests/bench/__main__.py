"""``python -m tests.bench [engine|catalogue|silence]``; see :mod:`tests.bench`."""

from __future__ import annotations

import argparse
import sys

from tests.bench import catalogue, engine, everything, silence


def main() -> int:
    """Run the benchmark that the command line names, or all workloads; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=everything.__doc__)
    everything.add_arguments(parser)
    parser.set_defaults(run=everything.run)
    commands = parser.add_subparsers(title="other benchmarks", metavar="NAME")
    for module in (engine, catalogue, silence):
        name = module.__name__.rpartition(".")[2]
        summary = (module.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=summary, description=summary)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    arguments = parser.parse_args()
    code: int = arguments.run(arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
