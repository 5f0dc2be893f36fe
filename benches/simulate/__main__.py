"""`python -m benches.simulate`: look for faults of the cores on simulated time.

Progress goes to stderr, what a failing seed shows to stdout. Exit codes: 0 all seeds held, 1 one
failed, 2 misused.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from . import put_back
from .run import Outcome, run
from .shrink import shortest_prefix, without_needless
from .site import Site
from .sizes import SIZES, SiteSettings

_EXAMPLES = """\
examples:
  python -m benches.simulate --seeds 1000          1,000 small sites: at most two minutes
  python -m benches.simulate --first 4711          seed 4711 only, with its trace if it fails
  python -m benches.simulate --first 3 --trace     the trace of a seed that holds, too
  python -m benches.simulate --site big            10,000 workers, 300 clients, 1,000,000 requests
  python -m benches.simulate --put-back retire     does it find this fault?
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    patch = put_back.NAMES[options.put_back] if options.put_back else put_back.nothing
    with patch() as change:
        return _search(options, lambda seed: change(SIZES[options.site](seed)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benches.simulate",
        description="Run whole sites on simulated time, with faults of all kinds, and check at\n"
        "every step what must hold. Only the network is simulated: the cores are those of mdp.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seeds", type=_positive, default=1, metavar="N", help="The number of seeds (default: 1).")
    add("--first", type=int, default=0, metavar="SEED", help="The first seed (default: 0).")
    add("--site", choices=SIZES, default="small", help="The size of the site.")
    add("--put-back", choices=put_back.NAMES, metavar="NAME", help=_names())
    add("--go-on", action="store_true", help="Do not stop at the first seed that fails.")
    add(
        "--short",
        action="store_true",
        help="Print one line for each seed that fails.",
    )
    add("--trace", action="store_true", help="Print the trace of each seed, failed or not.")
    add(
        "--lines",
        type=_positive,
        default=60,
        metavar="N",
        help="How much of the trace is printed (default: 60).",
    )
    return parser


def _names() -> str:
    return f"Put a fault back into the cores on purpose: {', '.join(put_back.NAMES)}."


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"want a number above 0, got {text}")
    return number


def _search(options: argparse.Namespace, sized: Callable[[int], SiteSettings]) -> int:
    started, failed = time.monotonic(), 0
    is_big = options.site == "big"
    for count, seed in enumerate(range(options.first, options.first + options.seeds), start=1):
        outcome = run(
            seed, sized(seed), traced=options.trace, progress=_progress if is_big else None
        )
        if outcome.violation:
            failed += 1
            _report(outcome, sized(seed), options)
            if not options.go_on:
                break
        elif options.trace:
            _print_trace(outcome, options.lines)
        if count % 100 == 0 or count == options.seeds:
            _say(f"{count} seeds, {failed} failed, {time.monotonic() - started:.1f} s")
        if is_big:
            _say(f"seed {seed}: {outcome.events} events, {outcome.ends}, {outcome.failures}")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    _say(f"{time.monotonic() - started:.1f} s, {peak_mb:.0f} MB")
    return 1 if failed else 0


def _report(outcome: Outcome, settings: SiteSettings, options: argparse.Namespace) -> None:
    print(f"seed {outcome.seed} failed after {outcome.at:.3f} s: {outcome.violation}")
    if options.short:
        return
    shortest = shortest_prefix(outcome, settings)
    print(f"shortest prefix that fails: {len(shortest.faults)} of {len(outcome.faults)} faults")
    fewest = without_needless(shortest, settings)
    print(f"{len(fewest.faults)} of them are enough:")
    for fault in fewest.faults:
        print(f"  {fault}")
    # checks look only, so a run with a check at every event is the same run
    exact = run(outcome.seed, replace(settings, check_every=1), faults=fewest.faults, traced=True)
    print(f"then, after {exact.at:.3f} s: {exact.violation}")
    _print_trace(exact, options.lines)
    again = f" --put-back {options.put_back}" if options.put_back else ""
    print(f"again: python -m benches.simulate --site {options.site} --first {outcome.seed}{again}")


def _print_trace(outcome: Outcome, lines: int) -> None:
    for line in outcome.trace[-lines:]:
        print(line)


def _progress(site: Site, events: int) -> None:
    now, calls = site.timeline.now, site.calls
    _say(f"{now:.1f} simulated s, {events} events, {site.next_request()} asked, {calls.open} open")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
