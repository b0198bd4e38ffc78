import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from sandbox.graph.answers import ANSWERS, ErrorAnswer, RawAnswer
from sandbox.graph.calls import CallLog, most_over_budget, token_sha
from sandbox.graph.simulator import GraphSimulator
from sandbox.graph.world import Thread
from sandbox.sample_traffic import GONE, RESOLVED, SAMPLE_TOKEN, SENDERS, introduce
from tests import answers

ACCOUNT, TOKEN = "17841400000000007", "EAATESTTOKEN"
USER, OTHER = "5550000000000001", "5550000000000002"
FIELDS = "name,username,profile_pic"
PROOF_OF_TOKEN = "23d2deeb06e78f15b221fcb84ed49c67b34099195239f52dd9cc31c05d852362"
APP_SECRET = "test_app_secret_0123456789abcdef"
NOW_S = 1_800_000_000.0


class Answer(answers.Answer):
    @property
    def code(self) -> int:
        return int(self.json["error"]["code"])


class Client:
    """Asks the simulator as the service would, on a new connection every time."""

    def __init__(self, graph: GraphSimulator, session: aiohttp.ClientSession) -> None:
        self.graph = graph
        self.session = session

    async def get(
        self, url: str, *, token: str | None = TOKEN, timeout_s: float = 60, **query: str
    ) -> Answer:
        async with self.session.get(
            url if url.startswith("http") else self.graph.url + url,
            params=query,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            allow_redirects=False,
        ) as response:
            return await Answer.of(response)

    async def profile(self, user: str = USER, *, token: str | None = TOKEN, **query: str) -> Answer:
        return await self.get(
            f"/v23.0/{user}", token=token, timeout_s=60, **({"fields": FIELDS} | query)
        )

    async def nothing_in_flight(self) -> None:
        async with asyncio.timeout(60):
            while self.graph.in_flight:  # noqa: ASYNC110 - ends by what the kernel reports
                await asyncio.sleep(0)

    async def switch(self, method: str, path: str, body: object = None) -> Answer:
        url = f"{self.graph.url}/_simulator{path}"
        async with self.session.request(method, url, json=body) as response:
            return await Answer.of(response)


async def people_of(client: Client, user: str) -> list[dict[str, str]]:
    """Ask for the conversation with a user and give its participants, if it is listed."""
    path = "/v23.0/me/conversations"
    answer = await client.get(path, platform="instagram", user_id=user, fields="participants")
    return [p for row in answer.json["data"] for p in row["participants"]["data"]]


@pytest.fixture
async def graph() -> AsyncIterator[GraphSimulator]:
    async with GraphSimulator(now=lambda: NOW_S) as graph:
        yield graph


@pytest.fixture
async def client(graph: GraphSimulator) -> AsyncIterator[Client]:
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Client(graph, session)


class TestProfiles:
    async def test_an_id_always_gets_the_same_made_up_person(self, client: Client) -> None:
        first, again = await client.profile(), await client.profile()
        assert first.json | {"profile_pic": ""} == again.json | {"profile_pic": ""}
        assert first.json["id"] == USER
        assert first.json["username"]
        assert first.json["name"]
        assert (await client.profile(OTHER)).json["username"] != first.json["username"]

    async def test_the_picture_expires_some_days_ahead_by_its_oe(self, client: Client) -> None:
        shown = (await client.profile()).json["profile_pic"]
        assert shown != (await client.profile()).json["profile_pic"]
        url = urlsplit(shown)
        assert f"{url.scheme}://{url.netloc}" == client.graph.album.origin
        expires_at = int(parse_qs(url.query)["oe"][0], 16)
        assert 3 * 86_400 <= expires_at - NOW_S <= 4 * 86_400

    async def test_only_what_is_asked_for_comes_and_the_id(self, client: Client) -> None:
        answer = await client.profile(fields="username,is_verified_user")
        assert list(answer.json) == ["username", "is_verified_user", "id"]

    async def test_overridden_fields_come_as_given_null_included(self, client: Client) -> None:
        client.graph.set_profile(USER, username=None, name="Sample Sender")
        answer = (await client.profile()).json
        assert (answer["username"], answer["name"]) == (None, "Sample Sender")
        assert answer["profile_pic"]
        client.graph.set_profile(USER)
        assert (await client.profile()).json["username"]

    async def test_a_field_that_does_not_exist_fails_the_whole_call(self, client: Client) -> None:
        answer = await client.profile(fields="name,nope")
        assert (answer.status, answer.code) == (400, 100)
        assert "nope" in answer.json["error"]["message"]
        assert "error_subcode" not in answer.json["error"]

    @pytest.mark.parametrize(
        ("asked", "served"),
        [
            ("/v18.0", "v21.0"),
            ("/v21.0", "v21.0"),
            ("/v25.0", "v25.0"),
            ("/v26.0", "v26.0"),
            ("", "v21.0"),
        ],
    )
    async def test_an_expired_version_is_served_as_the_oldest_live_one(
        self, client: Client, asked: str, served: str
    ) -> None:
        answer = await client.get(f"{asked}/{USER}", fields=FIELDS)
        assert answer.status == 200
        assert answer.headers["facebook-api-version"] == served

    @pytest.mark.parametrize("path", ["/v99.0/1", "/vx/1/y", "/v23.0/1/nothing", "/a/b/c/d"])
    async def test_an_unknown_path_answers_2500(self, client: Client, path: str) -> None:
        assert (await client.get(path)).code == 2500

    async def test_an_id_that_is_a_word_answers_803(self, client: Client) -> None:
        assert (await client.profile("somebody")).code == 803


class TestTokens:
    async def test_without_a_token_104(self, client: Client) -> None:
        assert (await client.profile(token=None)).code == 104

    async def test_once_tokens_are_known_others_can_not_be_parsed(self, client: Client) -> None:
        assert (await client.profile(token="any")).status == 200
        client.graph.add_account(ACCOUNT, TOKEN)
        assert (await client.profile()).status == 200
        refused = await client.profile(token="any")
        assert refused.code == 190
        assert "Cannot parse access token" in refused.json["error"]["message"]

    async def test_an_instagram_login_token_is_good_at_its_own_host_only(
        self, client: Client
    ) -> None:
        client.graph.add_account(ACCOUNT, TOKEN, login="instagram")
        assert (await client.profile()).code == 190
        url = f"{client.graph.instagram_url}/v23.0/{USER}"
        assert (await client.get(url, fields=FIELDS)).status == 200
        assert [call.host for call in client.graph.calls] == ["facebook", "instagram"]

    async def test_the_two_hosts_word_the_same_error_differently(self, client: Client) -> None:
        client.graph.set_answer("consent_required", user=USER)
        facebook = (await client.profile()).json["error"]
        instagram = (await client.get(f"{client.graph.instagram_url}/v23.0/{USER}")).json["error"]
        assert facebook["type"] == "OAuthException"
        assert facebook["message"].startswith("(#230) ")
        assert instagram["type"] == "IGApiException"
        assert instagram["message"].startswith("User consent")
        assert facebook["code"] == instagram["code"] == 230

    async def test_the_proof_is_checked_when_the_app_secret_is_known(self, client: Client) -> None:
        client.graph.world.app_secret = APP_SECRET
        missing = await client.profile()
        wrong = await client.profile(appsecret_proof="0" * 64)
        right = await client.profile(appsecret_proof=PROOF_OF_TOKEN)
        assert (missing.code, wrong.code, right.status) == (100, 100, 200)
        assert "require an appsecret_proof" in missing.json["error"]["message"]
        assert "Invalid appsecret_proof" in wrong.json["error"]["message"]
        assert [call.proof for call in client.graph.calls] == ["missing", "invalid", "right"]

    async def test_a_token_in_the_url_works_and_is_noted(self, client: Client) -> None:
        answer = await client.get(f"/v23.0/{USER}?access_token={TOKEN}", token=None)
        assert answer.status == 200
        assert client.graph.calls[0].token_in_url

    async def test_a_call_remembers_the_hash_of_the_token_only(self, client: Client) -> None:
        client.graph.add_account(ACCOUNT, TOKEN)
        await client.profile()
        [call] = client.graph.calls
        assert call.token_sha == token_sha(TOKEN)
        assert call.ig_account_id == ACCOUNT
        assert TOKEN not in repr(call)


ODD = {"timeout", "reset", "half_answer", "stalled_answer", "slow_drip", "huge_body"}


class TestAnswers:
    @pytest.mark.parametrize("name", sorted(set(ANSWERS) - ODD))
    async def test_every_named_answer_can_be_had(self, client: Client, name: str) -> None:
        client.graph.set_answer(name, user=USER)
        answer, expected = await client.profile(), ANSWERS[name]
        if isinstance(expected, ErrorAnswer):
            assert (answer.status, answer.code) == (expected.status, expected.code)
            assert answer.json["error"].get("error_subcode") == expected.subcode
            assert answer.json["error"]["fbtrace_id"] == answer.headers["x-fb-trace-id"]
        elif isinstance(expected, RawAnswer):
            assert (answer.status, answer.body) == (expected.status, expected.body)
        assert client.graph.calls[0].answer == name

    async def test_a_number_of_times_and_then_as_usual(self, client: Client) -> None:
        client.graph.set_answer("service_error", user=USER, times=2)
        statuses = [(await client.profile()).status for _ in range(3)]
        assert statuses == [500, 500, 200]
        assert [call.answer for call in client.graph.calls][-1] == "profile"

    async def test_normal_again_when_taken_back(self, client: Client) -> None:
        client.graph.set_answer("not_found", user=USER)
        client.graph.set_answer(None, user=USER)
        assert (await client.profile()).status == 200

    async def test_a_scope_goes_no_further_than_it_says(self, client: Client) -> None:
        graph = client.graph
        graph.add_account(ACCOUNT, TOKEN, "second token")
        graph.add_account("17841400000000008", "elsewhere")
        graph.set_answer("permission", account=ACCOUNT)
        tokens = (TOKEN, "second token", "elsewhere")
        assert [(await client.profile(token=t)).status for t in tokens] == [403, 403, 200]
        graph.set_answer(None, account=ACCOUNT)
        graph.set_answer("token_expired", token=TOKEN)
        assert [(await client.profile(token=t)).status for t in tokens] == [400, 200, 200]
        graph.set_answer("html_502")
        assert [(await client.profile(token=t)).status for t in tokens] == [502] * 3

    async def test_an_error_of_ones_own(self, client: Client) -> None:
        client.graph.set_answer(ErrorAnswer(code=4711, message="New"), user=USER)
        assert (await client.profile()).code == 4711
        assert client.graph.calls[0].answer == "code_4711"

    async def test_an_unknown_name_is_refused_with_the_list(self, graph: GraphSimulator) -> None:
        with pytest.raises(ValueError, match="there are: consent_required"):
            graph.set_answer("consent_requierd", user=USER)

    async def test_another_users_id(self, client: Client) -> None:
        client.graph.set_answer("wrong_id", user=USER)
        assert (await client.profile()).json["id"] == str(int(USER) + 1)

    async def test_names_that_postgres_can_not_hold(self, client: Client) -> None:
        client.graph.set_answer("nul_name", user=USER)
        client.graph.set_answer("surrogate_name", user=OTHER)
        assert "\0" in (await client.profile()).json["name"]
        assert (await client.profile(OTHER)).json["name"].endswith("\ud83d")

    @pytest.mark.parametrize("name", ["timeout", "stalled_answer", "slow_drip"])
    async def test_what_never_ends_ends_with_the_client(self, client: Client, name: str) -> None:
        client.graph.set_answer(name, user=USER)
        with pytest.raises(TimeoutError):
            await client.get(f"/v23.0/{USER}", timeout_s=0.2)
        await client.nothing_in_flight()

    async def test_a_dropped_connection(self, client: Client) -> None:
        client.graph.set_answer("reset", user=USER)
        with pytest.raises(aiohttp.ClientOSError):
            await client.profile()

    async def test_half_an_answer(self, client: Client) -> None:
        client.graph.set_answer("half_answer", user=USER)
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.profile()

    async def test_a_huge_body_stops_when_the_client_does(self, client: Client) -> None:
        client.graph.set_answer("huge_body", user=USER)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = f"{client.graph.url}/v23.0/{USER}"
        async with client.session.get(url, headers=headers) as response:
            assert response.status == 200
            assert len(await response.content.readexactly(1_000_000)) == 1_000_000
        await client.nothing_in_flight()

    async def test_a_redirect_tells_whether_it_was_followed(self, client: Client) -> None:
        client.graph.set_answer("redirect", user=USER)
        answer = await client.profile()
        assert answer.status == 302
        assert client.graph.world.redirects_followed == 0
        await client.get(answer.headers["Location"])
        assert client.graph.world.redirects_followed == 1


class TestLoad:
    async def test_latency(self, client: Client) -> None:
        client.graph.set_latency(80)
        began_s = time.monotonic()
        await client.profile()
        assert time.monotonic() - began_s >= 0.08
        client.graph.set_latency((1, 2))
        assert (await client.profile()).status == 200

    async def test_held_calls_have_arrived_but_are_not_answered(self, client: Client) -> None:
        client.graph.hold()
        asking = asyncio.ensure_future(asyncio.gather(client.profile(), client.profile(OTHER)))
        await client.graph.wait_for_calls(2)
        assert not asking.done()
        assert client.graph.in_flight == 2
        client.graph.release()
        assert [answer.status for answer in await asking] == [200, 200]
        assert (client.graph.in_flight, client.graph.most_in_flight) == (0, 2)

    async def test_waiting_for_calls_about_one_user(self, client: Client) -> None:
        waiting = asyncio.ensure_future(client.graph.wait_for_calls(1, ig_user_id=OTHER))
        await client.profile(USER)
        assert not waiting.done()
        await client.profile(OTHER)
        await waiting
        with pytest.raises(TimeoutError):
            await client.graph.wait_for_calls(3, timeout_s=0.01)

    async def test_usage_headers_as_percent_or_as_given(self, client: Client) -> None:
        assert "X-App-Usage" not in (await client.profile()).headers
        client.graph.set_usage(app=80, business={ACCOUNT: [{"call_count": 3}]})
        headers = (await client.profile()).headers
        assert json.loads(headers["X-App-Usage"])["call_count"] == 80
        assert json.loads(headers["X-Business-Use-Case-Usage"]) == {ACCOUNT: [{"call_count": 3}]}

    async def test_a_business_throttle_says_how_long_in_minutes(self, client: Client) -> None:
        client.graph.add_account(ACCOUNT, TOKEN)
        client.graph.set_answer("buc_throttle", account=ACCOUNT)
        usage = json.loads((await client.profile()).headers["X-Business-Use-Case-Usage"])
        assert usage[ACCOUNT][0]["estimated_time_to_regain_access"] == 19

    async def test_a_throttle_lets_rate_times_window_and_two_through(self, client: Client) -> None:
        client.graph.set_throttle(3, window_s=60)
        answers = [await client.profile() for _ in range(183)]
        assert [answer.status for answer in answers[181:]] == [200, 403]
        assert answers[182].code == 4
        usages = [json.loads(answer.headers["X-App-Usage"])["call_count"] for answer in answers]
        assert usages == sorted(usages)
        assert usages[-1] == 100
        assert client.graph.calls[-1].answer == "throttled"
        client.graph.set_throttle(None)
        assert (await client.profile()).status == 200


class TestBudget:
    def test_no_calls_leave_the_whole_burst(self) -> None:
        assert most_over_budget([], 10) == -2

    def test_two_at_once_are_within_any_budget_three_are_not(self) -> None:
        assert most_over_budget([5.0, 5.0], 10) == 0
        assert most_over_budget([5.0, 5.0, 5.0], 10) == 1

    @given(
        st.lists(st.integers(0, 400), max_size=30).map(sorted),
        st.sampled_from([0.5, 1.0, 8.0]),
    )
    def test_it_is_the_worst_of_all_windows(self, ticks: list[int], rate: float) -> None:
        times_s = [tick / 64 for tick in ticks]
        windows = [
            j - i + 1 - rate * (times_s[j] - times_s[i]) - 2
            for i in range(len(times_s))
            for j in range(i, len(times_s))
        ]
        assert most_over_budget(times_s, rate) == max(windows, default=-2)

    async def test_the_log_forgets_the_oldest_and_says_so(self, client: Client) -> None:
        client.graph.log = log = CallLog(max_calls=2)
        for user in ("1", "2", "3"):
            await client.profile(user)
        assert [call.ig_user_id for call in log.calls] == ["2", "3"]
        assert (log.total, log.forgotten) == (3, 1)
        assert log.most_over_budget(0.001) == pytest.approx(0, abs=0.01)

    async def test_calls_come_in_order_with_both_clocks(self, client: Client) -> None:
        before_s, before = time.monotonic(), time.time()
        await client.profile(USER)
        await client.profile(OTHER)
        first, second = client.graph.calls
        assert before_s <= first.at_s <= second.at_s <= time.monotonic()
        assert before <= first.received_at <= time.time()
        assert (first.version, first.fields) == ("v23.0", FIELDS)
        assert client.graph.calls_for(OTHER) == [second]


class TestEdges:
    async def test_a_good_token_has_every_scope(self, client: Client) -> None:
        client.graph.add_account(ACCOUNT, TOKEN)
        data = (await client.get("/debug_token", input_token=TOKEN)).json["data"]
        assert data["is_valid"]
        assert data["expires_at"] == 0
        assert "instagram_manage_messages" in data["scopes"]

    async def test_a_dead_token_says_why(self, client: Client) -> None:
        client.graph.add_account(ACCOUNT, TOKEN)
        client.graph.set_answer("token_expired", token=TOKEN)
        data = (await client.get("/v23.0/debug_token", input_token=TOKEN)).json["data"]
        assert not data["is_valid"]
        assert (data["error"]["code"], data["error"]["subcode"]) == (190, 463)
        unknown = (await client.get("/debug_token", input_token="other")).json["data"]
        assert not unknown["is_valid"]

    async def test_a_missing_permission_is_a_missing_scope(self, client: Client) -> None:
        client.graph.add_account(ACCOUNT, TOKEN)
        client.graph.set_answer("permission", account=ACCOUNT)
        data = (await client.get("/debug_token", input_token=TOKEN)).json["data"]
        assert data["is_valid"]
        assert "instagram_manage_messages" not in data["scopes"]

    async def test_what_debug_token_says_can_be_overridden(self, client: Client) -> None:
        client.graph.add_token(TOKEN, ig_account_id=ACCOUNT, debug={"expires_at": 1_800_086_400})
        data = (await client.get("/debug_token", input_token=TOKEN)).json["data"]
        assert data["expires_at"] == 1_800_086_400

    async def test_looking_at_a_token_does_not_use_its_script_up(self, client: Client) -> None:
        client.graph.add_account(ACCOUNT, TOKEN)
        client.graph.set_answer("token_expired", token=TOKEN, times=1)
        await client.get("/debug_token", input_token=TOKEN)
        assert (await client.profile()).code == 190
        assert (await client.profile()).status == 200

    async def test_an_account_may_have_lost_its_subscription(self, client: Client) -> None:
        client.graph.add_account(ACCOUNT, TOKEN)
        path = f"/v23.0/{ACCOUNT}/subscribed_apps"
        assert "messages" in (await client.get(path)).json["data"][0]["subscribed_fields"]
        client.graph.set_subscribed(ACCOUNT, subscribed=False)
        assert (await client.get(path)).json == {"data": []}

    async def test_conversations_come_newest_first_a_page_at_a_time(self, client: Client) -> None:
        client.graph.add_account(ACCOUNT, TOKEN)
        newest = datetime(2026, 11, 20, 10, tzinfo=UTC)
        told = [(f"55{n}", newest - timedelta(hours=n)) for n in range(5)]
        client.graph.set_conversations(ACCOUNT, told[::-1])
        pages = [page async for page in _pages(client)]
        users = [row["participants"]["data"][1]["id"] for page in pages for row in page["data"]]
        assert [len(page["data"]) for page in pages] == [2, 2, 1]
        assert users == [user for user, _ in told]
        assert pages[0]["data"][0]["updated_time"] == "2026-11-20T10:00:00+0000"
        assert client.graph.calls == []

    async def test_a_conversation_is_found_by_its_user(self, client: Client) -> None:
        client.graph.add_account(ACCOUNT, TOKEN)
        client.graph.set_profile(USER, username="jane.doe")
        client.graph.set_thread(USER, ACCOUNT)
        client.graph.set_thread(OTHER, ACCOUNT)
        [business, person] = await people_of(client, USER)
        assert business["id"] == ACCOUNT
        assert person == {"username": "jane.doe", "id": USER}
        assert [call.ig_user_id for call in client.graph.conversations.calls] == [USER]
        assert client.graph.calls == []

    @pytest.mark.parametrize(
        ("thread", "shown"),
        [
            (Thread(is_listed=False), []),
            (Thread(hides_username=True), [{"id": USER}]),
            (Thread(username="from.thread"), [{"username": "from.thread", "id": USER}]),
            (Thread(participants=[{"id": OTHER}]), []),
        ],
    )
    async def test_a_thread_shows_what_it_is_told(
        self, client: Client, thread: Thread, shown: list[object]
    ) -> None:
        client.graph.add_account(ACCOUNT, TOKEN)
        client.graph.set_thread(USER, ACCOUNT, thread)
        assert [p for p in await people_of(client, USER) if p["id"] == USER] == shown

    async def test_conversation_calls_may_fail_alone(self, client: Client) -> None:
        client.graph.add_account(ACCOUNT, TOKEN)
        client.graph.set_answer("permission", conversations=ACCOUNT)
        path = "/v23.0/me/conversations"
        assert (await client.get(path, platform="instagram", user_id=USER)).code == 10
        assert (await client.profile()).status == 200

    async def test_conversations_need_the_platform_and_known_fields(self, client: Client) -> None:
        client.graph.add_account(ACCOUNT, TOKEN)
        client.graph.set_conversations(ACCOUNT, [(USER, datetime.now(UTC))])
        path = f"/v23.0/{ACCOUNT}/conversations"
        assert (await client.get(path)).json == {"data": []}
        assert (await client.get(path, platform="instagram", fields="nope")).code == 100

    async def test_an_outage_covers_them_all(self, client: Client) -> None:
        client.graph.set_answer("http_503")
        for path in ("/debug_token", f"/v23.0/{ACCOUNT}/conversations"):
            assert (await client.get(path, input_token=TOKEN)).status == 503


async def _pages(client: Client) -> AsyncIterator[dict[str, Any]]:
    """Follow `next` from page to page, two conversations each."""
    asked = URL(f"{client.graph.url}/v23.0/{ACCOUNT}/conversations").with_query(
        platform="instagram", fields="participants{id,username},updated_time", limit=2
    )
    url: str | None = str(asked)
    while url:
        page = (await client.get(url)).json
        yield page
        url = page.get("paging", {}).get("next")


class TestSwitchesOverHttp:
    async def test_a_user(self, client: Client) -> None:
        body = {"profile": {"username": "set.over.http"}, "answer": "http_500", "times": 1}
        assert (await client.switch("PUT", f"/users/{USER}", body)).status == 200
        assert (await client.profile()).status == 500
        assert (await client.profile()).json["username"] == "set.over.http"
        await client.switch("PUT", f"/users/{USER}", {"profile": None})
        assert (await client.profile()).json["username"] != "set.over.http"

    async def test_an_account_and_a_token(self, client: Client) -> None:
        told = [[USER, "2026-11-20T10:00:00Z"]]
        account = {"tokens": [TOKEN], "subscribed": False, "conversations": told}
        await client.switch("PUT", f"/accounts/{ACCOUNT}", account)
        assert (await client.get(f"/v23.0/{ACCOUNT}/subscribed_apps")).json == {"data": []}
        await client.switch("PUT", "/tokens", {"token": TOKEN, "answer": "token_revoked"})
        assert (await client.profile()).json["error"]["error_subcode"] == 458
        await client.switch("PUT", "/tokens", {"token": TOKEN, "answer": None})
        assert (await client.profile()).status == 200
        await client.switch("PUT", f"/accounts/{ACCOUNT}", {"answer": "policy_block"})
        assert client.graph.world.accounts[ACCOUNT].conversations[0][0] == USER

    async def test_everything_at_once(self, client: Client) -> None:
        own = {"status": 418, "code": 4711, "message": "New"}
        await client.switch("PUT", "/answer", {"answer": own, "times": 1})
        answer = await client.profile()
        assert (answer.status, answer.code) == (418, 4711)

    @pytest.mark.parametrize(
        ("path", "body", "seen"),
        [
            ("/usage", {"app": 90}, lambda answer: '"call_count":90' in str(answer.headers)),
            ("/throttle", {"callsPerSecond": 9}, lambda answer: "X-App-Usage" in answer.headers),
            ("/latency", {"ms": [0, 1]}, lambda answer: answer.status == 200),
            ("/settings", {"appSecret": "s"}, lambda answer: answer.code == 100),
            ("/settings", {"restrictTokens": True}, lambda answer: answer.code == 190),
        ],
    )
    async def test_the_rest(
        self, client: Client, path: str, body: object, seen: Callable[[Answer], bool]
    ) -> None:
        assert (await client.switch("PUT", path, body)).status == 200
        assert seen(await client.profile())
        assert (await client.switch("DELETE", "")).status == 200
        client.graph.world.app_secret = None
        assert not {"X-App-Usage"} & (await client.profile()).headers.keys()

    async def test_calls_and_budget(self, client: Client) -> None:
        for user in (USER, OTHER, USER):
            await client.profile(user)
        calls = (await client.switch("GET", "/calls")).json
        assert (calls["total"], calls["forgotten"]) == (3, 0)
        assert [call["igUserId"] for call in calls["calls"]] == [USER, OTHER, USER]
        assert len((await client.switch("GET", f"/calls?user={USER}&limit=1")).json["calls"]) == 1
        budget = (await client.switch("GET", "/budget?rate=0.001")).json
        assert budget["overBudget"] == pytest.approx(1, abs=0.1)
        assert (await client.switch("GET", "/budget")).status == 400
        await client.switch("DELETE", "/calls")
        assert client.graph.calls == []

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/users/1", {"answer": "no such"}),
            ("/users/1", {"aswer": "http_500"}),
            ("/latency", {"ms": "much"}),
            ("/latency", {"ms": [9, 1]}),
            ("/throttle", {"callsPerSecond": 0}),
            ("/tokens", {}),
        ],
    )
    async def test_a_wrong_switch_is_refused_with_the_reason(
        self, client: Client, path: str, body: object
    ) -> None:
        answer = await client.switch("PUT", path, body)
        assert answer.status == 400
        assert answer.json["error"]

    async def test_the_overview_names_every_answer(self, client: Client) -> None:
        assert (await client.switch("GET", "")).json["answers"] == list(ANSWERS)

    async def test_mending_answers_normally_and_keeps_accounts_profiles_and_calls(
        self, client: Client
    ) -> None:
        await client.switch("PUT", f"/users/{USER}", {"profile": {"username": "kept"}})
        await client.switch("PUT", "/answer", {"answer": "http_500"})
        await client.switch("PUT", "/usage", {"app": 90})
        assert (await client.switch("GET", "")).json["scripts"] == [
            {"scope": "all", "key": "", "answer": "http_500", "remaining": None}
        ]
        assert (await client.profile()).status == 500
        await client.switch("DELETE", "/answers")
        mended = await client.profile()
        assert (mended.status, mended.json["username"]) == (200, "kept")
        assert "X-App-Usage" not in mended.headers
        assert (await client.switch("GET", "")).json["scripts"] == []
        assert len(client.graph.calls) == 2


@pytest.mark.parametrize("path", ["", "/answers"])
async def test_after_a_reset_the_sample_people_are_as_at_the_start(path: str) -> None:
    async with GraphSimulator(introduce=introduce) as graph, aiohttp.ClientSession() as session:
        client = Client(graph, session)
        at_start = graph.world.scripts()
        for sender in SENDERS:
            graph.set_answer("http_500", user=sender.ig_user_id)
        graph.set_answer("app_throttle")
        await client.switch("DELETE", path)
        assert graph.world.scripts() == at_start
        named = await client.profile(RESOLVED.ig_user_id, token=SAMPLE_TOKEN)
        assert named.json["username"] == "sample.sender"
        gone = await client.profile(GONE.ig_user_id, token=SAMPLE_TOKEN)
        assert gone.json["error"]["error_subcode"] == 33


async def test_it_runs_as_a_process_and_ends_when_told() -> None:
    command = (sys.executable, "-m", "sandbox.graph.simulator", "--app-secret", APP_SECRET)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        url = json.loads(await process.stdout.readline())["url"]
        query = {"fields": FIELDS, "appsecret_proof": PROOF_OF_TOKEN, "access_token": TOKEN}
        async with aiohttp.request("GET", f"{url}/v23.0/{USER}", params=query) as response:
            assert (await response.json())["id"] == USER
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
