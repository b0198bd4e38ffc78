"""The loop of `serve`: answers that the service waits for go before what clients want."""

import asyncio
import socket
from asyncio import StreamReader, StreamWriter

from service.loop import MOST_CLIENTS, FairSelector, new_loop

CLIENTS = 5 * MOST_CLIENTS


def test_every_client_is_served_in_the_end() -> None:
    async def echo(reader: StreamReader, writer: StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    async def ask(port: int, number: int) -> list[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answers = []
        for turn in range(20):
            writer.write(f"{number} {turn}\n".encode())
            answers.append(await reader.readline())
        writer.close()
        await writer.wait_closed()
        return answers

    async def main() -> None:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            answers = await asyncio.gather(*(ask(port, number) for number in range(CLIENTS)))
        assert answers == [[f"{n} {t}\n".encode() for t in range(20)] for n in range(CLIENTS)]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def test_our_own_sockets_are_given_out_at_once_and_clients_in_turns() -> None:
    selector = FairSelector()
    with socket.create_server(("127.0.0.1", 0), backlog=CLIENTS) as listening:
        selector.register(listening, 1)
        ends = [socket.create_connection(listening.getsockname()) for _ in range(CLIENTS)]
        served = [listening.accept()[0] for _ in range(CLIENTS)]
        ours, theirs = socket.socketpair()
        for one in (*served, ours):
            selector.register(one, 1)
        for end in (*ends, theirs):
            end.send(b"x")
        turns = [{key.fd for key, _ in selector.select(0)} for _ in range(5)]
        assert all(ours.fileno() in turn for turn in turns)
        assert [len(turn) for turn in turns] == [MOST_CLIENTS + 1] * 5
        assert set.union(*turns) == {one.fileno() for one in (*served, ours)}
        for one in (*ends, *served, ours, theirs):
            one.close()
    selector.close()
