"""`python -m benchmarks`: run each benchmark in its own process; exit with 1 if a target fails."""

from __future__ import annotations

import subprocess
import sys

# in this order: latency first, while the machine is still cool
BENCHMARKS = ("submit_to_done", "reporting", "throughput", "emulation", "replicas")


def main() -> int:
    codes = {
        name: subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode
        for name in BENCHMARKS
    }
    broken = [name for name, code in codes.items() if code]
    if broken:
        print(f"\ntargets missed: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
