"""A run on a Ray cluster: the batch function of `bulk.local` in a pool of actors. This process writes the parts.

Actors read their items themselves. Ray's own `read_binary_files` would hold a recording of hours in its object store,
and a file that cannot be read would end its task instead of giving a row. Ray's checkpoints are not used either: the
items that have a row are left out before anything is read (`bulk.run`), which is exact, needs no further actors, and is
the same with and without Ray.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from bulk.exchange import items_of, items_table, scored_of, scored_table
from bulk.item import Item
from bulk.local import Local
from bulk.run import Score, Stop
from bulk.scoring import ScoredItem
from model.cores import VARIABLE as CORES

BATCH_ITEMS = 128
"""Items that an actor scores in one call."""
LOCAL = "local"


class ClusterError(RuntimeError):
    """The cluster cannot be used."""


@dataclass(frozen=True)
class Pool:
    """The actors of a run: how many (None: as many as the cluster has room for), and what each of them holds."""

    actors: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    batch_items: int = BATCH_ITEMS


class ScoringActor:
    """Scores batches of items. `make` gives its `Local` once the actor is on its node."""

    def __init__(self, make: Callable[[], Local], cores: int) -> None:
        os.environ[CORES] = str(cores)  # it must not compute on more than it has reserved
        self._local = make()

    def __call__(self, batch: pa.Table) -> pa.Table:
        return scored_table(list(self._local.score(items_of(batch))))


@contextmanager
def cluster(address: str, make: Callable[[], Local], pool: Pool) -> Iterator[Score]:
    """Connect to a cluster, or start one on this machine; gives what scores items on it. Raises ClusterError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError:
        raise ClusterError("--ray needs Ray: pip install 'anysound[ray]'") from None
    try:
        where: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {"address": address}
        ray.init(log_to_driver=False, configure_logging=False, **where)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ClusterError(f"{address}: {error}") from None
    try:
        yield lambda items, stop: _scored(items, stop, make, pool)
    finally:
        ray.shutdown()


def _scored(items: Sequence[Item], stop: Stop, make: Callable[[], Local], pool: Pool) -> Iterator[ScoredItem]:
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    if not items:
        return
    context = DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it reports every step of its plan
    context.execution_options.preserve_order = True
    room = ray.cluster_resources()
    fitting = room.get("GPU", 0) / pool.gpus if pool.gpus else room.get("CPU", 1) / pool.cpus
    step = pool.batch_items
    batches = [items_table(items[at : at + step]) for at in range(0, len(items), step)]
    most = pool.actors or max(1, min(int(fitting), len(batches)))
    scored = ray.data.from_arrow(batches).map_batches(
        ScoringActor,
        fn_constructor_args=(make, max(1, int(pool.cpus))),
        batch_size=step,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=pool.actors) if pool.actors else ActorPoolStrategy(min_size=1, max_size=most),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus or None,
    )
    for table in scored.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
        yield from scored_of(table)
        if stop():
            return
