"""Expert-updates per second of `hyperpolicy train` on eight speeds, with the options given.

Settings: updates, options, seed.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main(updates: int, options: list[str], seed: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "hyperpolicy", "train", "cheetah-vel", "--out", str(out)]
        command += ["--split", "quarter", "--seed", str(seed), "--num-updates", str(updates)]
        began = time.monotonic()
        subprocess.run([*command, *options], check=True, capture_output=True)
        seconds = time.monotonic() - began
        rates, experts = [], 0
        places = sorted(out.glob("shard-*")) or [out]
        for place in places:
            lines = [json.loads(x) for x in (place / "metrics.jsonl").read_text().splitlines()]
            first, last = lines[1], lines[-1]
            n = len(last["return"])
            rates.append(
                (last["updates"] - first["updates"]) / (last["seconds"] - first["seconds"])
            )
            experts += n
    return {"per_s": min(rates) * experts, "command_s": seconds, "experts": experts}


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
