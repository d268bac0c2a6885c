"""A clip that took its decoder over finds no way out of it."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.service.decoding.conftest import decodes, failure, pool

pytestmark = pytest.mark.asyncio(loop_scope="module")
Refused = Callable[..., Awaitable[None]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def refused() -> AsyncIterator[Refused]:
    """Run an attack in a decoder; it has to be refused, and the decoder to work afterwards."""
    async with pool() as decoding:

        async def attack(name: str, argument: object = "") -> None:
            error = await failure(decoding, f"{name} {argument}")
            assert (error.reason, error.detail) == ("refused", "EPERM")
            await decodes(decoding)

        yield attack


async def test_every_system_call_that_decoding_does_not_need_is_refused(refused: Refused) -> None:
    await refused("call_everything_else")


async def test_it_reads_no_file(refused: Refused) -> None:
    await refused("read_a_file", __file__)


async def test_it_writes_no_file(refused: Refused, tmp_path: Path) -> None:
    await refused("write_a_file", tmp_path / "f")
    assert not (tmp_path / "f").exists()


async def test_it_connects_to_nothing(refused: Refused) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await refused("connect", listener.getsockname()[1])


@pytest.mark.parametrize("attack", ["connect_to_a_path", "connect_to_an_abstract_name"])
async def test_it_reaches_no_socket_of_this_machine(refused: Refused, attack: str, tmp_path: Path) -> None:
    name = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name if attack == "connect_to_a_path" else f"\0{name}")
        listener.listen()
        await refused(attack, name)


@pytest.mark.parametrize(
    "attack", ["kill", "open_a_handle", "read_the_memory_of", "limit_another", "have_others_signalled"]
)
async def test_it_touches_no_other_process(refused: Refused, attack: str) -> None:
    await refused(attack, os.getpid())


@pytest.mark.parametrize(
    "attack",
    [
        *("list_a_folder", "look_at_a_file", "write_to_the_log", "send_descriptors", "start_a_program", "fork"),
        *("start_a_thread", "kill_its_parent", "kill_everybody", "lift_a_limit", "cut_off_the_shared_memory"),
        *("seal_the_shared_memory", "map_code", "call_by_the_second_table"),
    ],
)
async def test_it_may_not(refused: Refused, attack: str) -> None:
    await refused(attack, "/")
