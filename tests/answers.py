"""A response as tests look at it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import aiohttp


@dataclass(frozen=True)
class Answer:
    """A response, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    async def of(cls, response: aiohttp.ClientResponse) -> Self:
        return cls(response.status, response.headers, await response.read())

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever JSON was sent
        return json.loads(self.body)

    def assert_problem(self, status: int) -> Any:  # noqa: ANN401 - whatever JSON was sent
        """Check everything that the contract says of an error, and give its body."""
        assert self.status == status, self.body
        assert self.headers["Content-Type"].split(";")[0] == "application/problem+json"
        problem = self.json
        assert problem.keys() >= {"type", "title", "status", "detail", "requestId"}
        assert problem["status"] == status
        assert problem["requestId"] == self.headers["X-Request-ID"] != ""
        return problem
