"""Runs an embedded PostgreSQL, controlled by commands on standard input, one a line."""

import json
import sys
from pathlib import Path

from sandbox.postgres.server import EmbeddedPostgres


def main(folder: Path) -> None:
    """Run commands until standard input ends; each is answered with the server's address."""
    server = EmbeddedPostgres(folder)
    words = {
        "start": server.start,
        "stop": server.stop,
        "kill": server.kill,
        "freeze": server.freeze,
        "thaw": server.thaw,
    }
    try:
        for line in sys.stdin:
            words[line.strip()]()
            print(json.dumps({"dsn": server.dsn()}), flush=True)
    finally:
        server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
