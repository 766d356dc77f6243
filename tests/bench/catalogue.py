"""What it costs to look for every family of ``all`` and not only for ``<think>``."""

from __future__ import annotations

import argparse
from functools import partial
from statistics import median

from sidecar.core.policy import Policy
from sidecar.core.vocabulary import Vocabulary
from sidecar.resources import config_dir
from sidecar.rules.catalogue import load_catalogue
from sidecar.wire.ruling import Ruling
from tests.bench import answers
from tests.bench.engine import by_turns, check, filtered

MAX_RATIO = 1.15


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--events", type=int, default=2000, help="events of one answer")
    parser.add_argument("--rounds", type=int, default=25, help="times that each one is measured")
    parser.add_argument(
        "--max-ratio", type=float, default=MAX_RATIO, help="fail above it (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure the plain answers under both, print the ratios; the exit code."""
    catalogue = load_catalogue(config_dir() / "formats")
    few, many = catalogue.resolve(["think"]), catalogue.resolve(["all"])
    policy = Policy()
    rulings = [Ruling(policy, Vocabulary(formats, policy)) for formats in (many, few)]
    print(f"processor time of a plain answer, {len(many)} families to {len(few)}")
    worst = 0.0
    for answer in (
        answers.plain(arguments.events),
        answers.plain(arguments.events, "plain, spaced and escaped", answers.spaced),
    ):
        for ruling in rulings:
            check(answer, ruling)
        all_, think = (partial(filtered, answer, ruling) for ruling in rulings)
        rounds = zip(*by_turns((all_, think), arguments.rounds), strict=True)
        ratio = median(first / second for first, second in rounds)
        worst = max(worst, ratio)
        print(f"{answer.name:28} {ratio:.3f} times")
    return int(worst > arguments.max_ratio)
