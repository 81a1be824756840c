"""The long fault run: every fault for real, on private servers, and what customers got in the end.

    python -m tests.faults.long [--seed 1] [--seeds 5] [--customers 500] [--kills 200] [--journal]
                                [--contrast get/set|ignoring|add]

Workers bill and tell in loops while they are killed at random and at each step of a hand-over, paused beyond their
leases, and given clocks that are wrong and jump; while PostgreSQL (with `synchronous_commit=off`) is stopped at once
and loses connections, Redis refuses writes, freezes, loses connections and begins empty, and the mail server drops,
refuses, hangs, drips and is away. Customers fall, are topped up, hover and fall again meanwhile. In the end all faults
stop, and what the mail server accepted is compared with what the ledger, the alerts and the falls ask for.

Exit status 1 if a customer was told twice, silently left out, told something wrong or too late, if the breaker tripped,
if `reconcile` found drift, or if a mail stays uncertain that the journal can settle (it can't where its own copy was
refused, and it orders one second try, not more). `--contrast` puts a sender in Ivy's place that remembers in the cache
whom it told. A run takes some minutes and ends by itself after a quarter of an hour at most.
"""

import argparse
import signal
import sys

from tests.faults.flagged_sender import VARIANTS
from tests.faults.incident import IVY, Incident, Result

SHOWN = 10


def main() -> int:
    """Run the seeds one after the other, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--seeds", type=int, default=1, help="how many, one after the other")
    parser.add_argument("--customers", type=int, default=500)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--journal", action="store_true", help="with an archive mailbox, on a real IMAP server")
    parser.add_argument("--contrast", choices=VARIANTS, help="a cache flag in place of Ivy's log")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results = []
    for seed in range(options.seed, options.seed + options.seeds):
        incident = Incident(
            seed,
            customers=options.customers,
            kills=options.kills,
            has_journal=options.journal,
            way=options.contrast or IVY,
        )
        results.append(incident.go())
        tell(results[-1])
    print("\n" + "\n".join(table(results)))
    return 0 if all(one.is_well for one in results) else 1


def tell(result: Result) -> None:
    """One run in detail: what was done, and what was found."""
    print(f"seed {result.seed}, {result.way}{', with journal' if result.has_journal else ''}", flush=True)
    print("  faults: " + ", ".join(f"{name} {count}" for name, count in sorted(result.faults.items())))
    if result.way == IVY:
        settled = ", ".join(f"{count} {how}" for how, count in sorted(result.settled.items()))
        print(f"  uncertain {result.uncertain} times: {settled or 'nothing settled'}, {result.left} left to staff")
    staff = {state: result.found.staff.count(state) for state in sorted(set(result.found.staff))}
    if staff:
        print(f"  not told, and shown to staff: {staff}")
    for name in ("duplicates", "losses", "wrong", "stale"):
        lines = getattr(result.found, name)
        print("".join(f"  {name}: {line}\n" for line in lines[:SHOWN]), end="")
        print(f"  {name}: … and {len(lines) - SHOWN} more\n" if len(lines) > SHOWN else "", end="")
    print("".join(f"  trouble: {line}\n" for line in result.trouble), end="", flush=True)


def table(results: list[Result]) -> list[str]:
    """All runs, a line each, as it stands in docs/reliability.md."""
    titles = (
        "sender", "seed", "kills", "falls", "mails", "duplicates", "silent losses", "wrong", "stale", "uncertain",
        "left", "minutes",
    )  # fmt: skip
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for one in results:
        found = one.found
        sender = f"{one.way}{', journal' if one.has_journal else ''}"
        lines.append(
            f"| {sender} | {one.seed} | {one.kills} | {one.falls} | {one.mails} | {len(found.duplicates)}"
            f" | {len(found.losses)} | {len(found.wrong)} | {len(found.stale)} | {one.uncertain} | {one.left}"
            f" | {one.seconds / 60:.1f} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
