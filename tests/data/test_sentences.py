"""The table of sentences that ships."""

import json

import numpy as np
import pytest

from hyperpolicy.data import sentences
from hyperpolicy.envs.metaworld.family import TASKS
from hyperpolicy.errors import BadFile, UnknownTask


def test_every_task_has_a_sentence_and_its_embedding():
    assert sorted(sentences.SENTENCES) == sorted(TASKS)
    table = np.array(sentences.of(TASKS))
    assert table.shape == (50, 256)
    np.testing.assert_allclose(table.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(table.std(axis=0), 1, atol=1e-3)
    raw = np.array(sentences.of(["reach", "push"], centered=False))
    assert raw.shape == (2, 256) and not np.allclose(raw.mean(axis=0), 0)


def test_other_tables_and_unknown_tasks(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"reach": [1.0, 2.0], "push": [3.0, 2.0]}))
    assert sentences.of(["push"], path) == ((1.0, 0.0),)
    with pytest.raises(UnknownTask, match="Did you mean 'reach'"):
        sentences.of(["reech"], path)
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({"reach": [1.0], "push": [3.0, 2.0]}))
    with pytest.raises(BadFile, match="no embeddings"):
        sentences.of(["push"], path)
