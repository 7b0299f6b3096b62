"""Make the table of sentences' embeddings that ships: `python benchmarks/sentences.py`.

Needs `pip install wordllama`, whose weights are in its package. Another encoder is a function
sentences → [k, l] in place of `encode`.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hyperpolicy.data.sentences import FILE, SENTENCES


def encode(sentences: Sequence[str]) -> np.ndarray:
    """WordLlama's embeddings: the mean of its tokens' vectors, 256 numbers."""
    import wordllama

    with tempfile.TemporaryDirectory() as cache:
        # the package has its tokenizer in `tokenizers` and looks for it in `tokenizer`
        home = Path(wordllama.__file__).parent / "tokenizers"
        shutil.copytree(home, Path(cache) / "tokenizer")
        shutil.copytree(home, Path(cache) / "tokenizers")
        found = wordllama.WordLlama.load(cache_dir=Path(cache), disable_download=True)
        return found.embed(list(sentences))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FILE)
    table = encode(list(SENTENCES.values())).astype(float).round(4)
    pairs = zip(SENTENCES, table.tolist(), strict=True)
    lines = ",\n".join(f" {json.dumps(task)}: {json.dumps(row)}" for task, row in pairs)
    parser.parse_args().out.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    cosines = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    print(f"{table.shape}, cosines {cosines.min():.3f} to {cosines.max():.3f}")


if __name__ == "__main__":
    main()
