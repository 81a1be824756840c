"""A cycle with nothing due, one with a hundred calls due, and a look for alarms, on a large history.

python -m benchmarks.idle_cycle [--calls 3000000] [--customers 1000000]
"""

import argparse

from benchmarks import databases

WORLD = "ivy_benchmark_idle"

MEASURE = """
import statistics, time
from django.db import connection
from django.utils import timezone
from benchmarks import worlds
from billing import checks
from billing.cycle import run_cycle
def cycle():
    began = time.perf_counter()
    run = run_cycle(by="benchmark", at=timezone.now())
    assert run.state == "done", run.ended_because
    return (time.perf_counter() - began) * 1000, run
cycle()
idle = [cycle()[0] for _ in range(10)]
print(f"nothing due: median {statistics.median(idle):.0f} ms of 10, worst {max(idle):.0f} ms")
def look():
    began = time.perf_counter()
    checks.checks()
    return (time.perf_counter() - began) * 1000
looks = [look() for _ in range(10)]
print(f"looking for alarms: median {statistics.median(looks):.0f} ms of 10, worst {max(looks):.0f} ms")
worlds.add_calls(100, analyze=False)
taken, run = cycle()
print(f"100 calls due, the deck to be flattened: {taken:.0f} ms; {run.calls_billed} charged")
due = []
for _ in range(5):
    worlds.add_calls(100, analyze=False)
    due.append(cycle()[0])
print(f"100 calls due: median {statistics.median(due):.0f} ms of 5")
"""


def main() -> None:
    """Build the world, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=3_000_000)
    parser.add_argument("--customers", type=int, default=1_000_000)
    options = parser.parse_args()
    with databases.temporary(WORLD) as world:
        databases.manage(world, "migrate", "-v0")
        build = "from benchmarks import worlds\n"
        build += f"worlds.build(customers={options.customers}); worlds.add_calls({options.calls})"
        databases.inside(world, build)
        print(databases.manage(world, "run_billing", "--workers=2"), flush=True)
        print(databases.inside(world, MEASURE))


if __name__ == "__main__":
    main()
