"""`python -m benchmarks`: run each benchmark in its own process; exit with 1 if a target fails."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.command import parser_of

# in this order: latency first, while the machine is still cool
BENCHMARKS = ("submit_to_done", "reporting", "throughput", "emulation", "replicas")


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", help="measurements of each benchmark; default: its own number")
    rounds = parser.parse_args().rounds
    options = [] if rounds is None else ["--rounds", rounds]
    codes = {name: _measured(name, options) for name in BENCHMARKS}
    broken = [name for name, code in codes.items() if code]
    if broken:
        print(f"\ntargets missed: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


def _measured(name: str, options: list[str]) -> int:
    command = [sys.executable, "-m", f"benchmarks.{name}", *options]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
