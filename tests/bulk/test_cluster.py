"""A run on a Ray cluster of two nodes: the rows of a run without one, also when a node dies on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from bulk.cluster import Pool, cluster
from bulk.command import on_node
from bulk.exchange import items_of, items_table, scored_of, scored_table
from bulk.item import Item, Place
from bulk.labels import read_labels
from bulk.local import Plan
from bulk.scoring import ScoredItem
from bulk.setup import ReaderSetup
from bulk.sources import expand
from model.checkpoint import fingerprint, read_config
from tests.bulk.test_folder import EVENT, SETTINGS, failed, scored


def test_items_travel_as_tables() -> None:
    items = [*expand(["https://example.com/a.wav"]), Item(r"a\xff", Place.TAR, "a\udcff.tar", 512, 1024)]
    assert list(items_of(items_table(items))) == items
    assert items_table([]).schema == items_table(items).schema


def test_scored_items_travel_as_tables() -> None:
    items = [scored("a", EVENT), failed("b")]
    table = scored_table(items)
    assert [repr(item) for item in scored_of(table)] == [repr(item) for item in items]
    assert scored_table([failed("b")]).schema == scored_table([]).schema == table.schema


@pytest.fixture
def nodes() -> Iterator[object]:
    """A cluster of a head without CPUs for actors and two nodes with one each."""
    pytest.importorskip("ray", reason="Ray is not installed: make test-ray")
    from ray.cluster_utils import Cluster

    local = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield local
    local.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kill", [False, True])
def test_the_rows_are_those_of_a_run_without_ray(
    kill: bool, nodes: object, recordings: Path, labels: Path, tiny_folder: Path
) -> None:
    config, given = read_config(tiny_folder), read_labels(labels)
    settings = replace(
        SETTINGS,
        fingerprint=fingerprint(tiny_folder),
        labels=tuple(given.names),
        labels_digest=given.digest,
        template=config.prompts.template,
    )
    plan = Plan(settings, given, ReaderSetup.of(config.front_end, 0.5), 1, "float32")
    items = list(expand([str(recordings)])) * 4
    with on_node(str(tiny_folder), "cpu", plan) as local:
        expected = list(local.score(items))
    second = nodes.add_node(num_cpus=1)  # type: ignore[attr-defined]
    third = nodes.add_node(num_cpus=1)  # type: ignore[attr-defined]
    assert second is not third
    make = partial(on_node, str(tiny_folder), "cpu", plan)
    found: list[ScoredItem] = []
    with cluster(nodes.address, make, Pool(2, batch_items=5)) as score:  # type: ignore[attr-defined]
        for item in score(items, lambda: False):
            found.append(item)
            if kill and len(found) == 10:
                threading.Thread(target=nodes.remove_node, args=(third, False)).start()  # type: ignore[attr-defined]
                time.sleep(1)
    assert [item.path for item in found] == [item.path for item in items]
    for one, other in zip(found, expected, strict=True):
        assert (one.content_hash, one.duration_s, one.failure) == (other.content_hash, other.duration_s, other.failure)
        assert one.score == pytest.approx(other.score, abs=1e-5)
        assert len(one.events) == len(other.events)
