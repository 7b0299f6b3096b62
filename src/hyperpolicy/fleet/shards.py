"""A fleet in parts: each shard trains some of the experts, somewhere, under the numbers they have
in the whole fleet; joined, the shards' zoos are the fleet's.

    OUT/shard-0-of-4 … shard-3-of-4     a run each, which resumes by itself
    OUT/zoo, metrics.jsonl              what the whole run would have left
"""

import json
from pathlib import Path
from typing import NamedTuple

from hyperpolicy import files
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.run.job import METRICS
from hyperpolicy.zoo import Zoo, join


class Shard(NamedTuple):
    """Part `number` of several nearly equal ones."""

    number: int = 0
    parts: int = 1

    def rows(self, n: int) -> range:
        """Which of n experts it trains. Raises BadSetting: no such part, or an empty one."""
        if not 0 <= self.number < self.parts:
            raise BadSetting(f"shard {self.number} of {self.parts}: give 0 to {self.parts - 1}")
        if self.parts > n:
            raise BadSetting(f"{self.parts} shards of {n} experts; give at most one an expert")
        size, more = divmod(n, self.parts)
        first = self.number * size + min(self.number, more)
        return range(first, first + size + (self.number < more))

    def place(self, out: Path) -> Path:
        """Where it is trained, below the directory of the whole."""
        return out / f"shard-{self.number}-of-{self.parts}"


WHOLE = Shard()


def all_of(count: int) -> list[Shard]:
    return [Shard(i, count) for i in range(count)]


def gather(out: Path, count: int) -> Zoo:
    """The zoo of all `count` shards below `out`, written to `out/zoo` with the metrics of all
    beside it. Raises BadZoo: a shard is not finished, or they do not fit each other."""
    shards = all_of(count)
    missing = [str(s.number) for s in shards if not (s.place(out) / "zoo").exists()]
    if missing:
        raise BadZoo(f"shards {', '.join(missing)} of {out} are not finished; run them again")
    zoo = join([Zoo.load(shard.place(out) / "zoo") for shard in shards])
    if not (out / "zoo").exists():
        lines = [files.load_lines(shard.place(out) / METRICS) for shard in shards]
        records = [together(list(some)) for some in zip(*lines, strict=True)]
        text = "".join(json.dumps(one) + "\n" for one in records)
        files.write(out / METRICS, lambda p: p.write_text(text, encoding="utf-8"), overwrite=True)
        zoo.save(out / "zoo")
    return zoo


def together(records: list[dict]) -> dict:
    """Shards' records of one evaluation as the whole fleet's: lists one after the other, the time
    of the slowest."""
    found = dict(records[0])
    for name, value in found.items():
        if isinstance(value, list):
            found[name] = [x for record in records for x in record[name]]
    found["seconds"] = max(record["seconds"] for record in records)
    return found
