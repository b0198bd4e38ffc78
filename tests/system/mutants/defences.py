"""The defences of docs/security.md: the code of each, and the test that fails without it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """A defence, its code, the code without it, and the test that then fails."""

    defence: str
    file: str
    old: str
    new: str
    test: str


HOOKS = "tests/security/test_webhooks.py"
GRAPH = "tests/security/test_graph_calls.py"
SECRETS = "tests/security/test_secrets.py"
INJECTION = "tests/security/test_injection.py"
KEYS = "tests/security/test_keys.py"
CONTAINER = "tests/test_container.py"
CONNECTIONS = "tests/abuse/test_connections.py"
TCP_LIMITS = "tests/http/test_tcp_limits.py"
BODIES = "tests/http/test_bodies.py"
SANDBOX = "tests/browser/test_sandbox.py"

MUTATIONS = (
    Mutation(
        "the signature is checked",
        "service/receiving/webhook.py",
        "    if not good:\n",
        "    if False:\n",
        f"{HOOKS}::test_what_looks_like_a_signature_is_none",
    ),
    Mutation(
        "a delivery is refused by it",
        "service/http/webhook.py",
        "            verify_signature(body, signature, self._app_secrets)\n",
        "",
        f"{HOOKS}::TestServed::test_unsigned_and_forged_deliveries_change_nothing",
    ),
    Mutation(
        "the signature is compared in constant time",
        "service/receiving/webhook.py",
        "good |= hmac.compare_digest(expected, given)",
        "good |= expected == given",
        f"{HOOKS}::test_secrets_are_compared_in_constant_time",
    ),
    Mutation(
        "the old SHA-1 signature is ignored",
        "service/receiving/webhook.py",
        "    if not good:\n",
        '    good |= given == b"sha1=" + hmac.digest(app_secrets[0], body, "sha1").hex().encode()\n'
        "    if not good:\n",
        f"{HOOKS}::test_what_looks_like_a_signature_is_none",
    ),
    Mutation(
        "a refusal does not tell the signature",
        "service/receiving/webhook.py",
        'raise SignatureError("X-Hub-Signature-256 is missing or does not match the body")',
        'raise SignatureError(f"expected {expected.decode()}")',
        f"{HOOKS}::test_what_looks_like_a_signature_is_none",
    ),
    Mutation(
        "a replay finds the user fresh",
        "schema.sql",
        "SELECT last_fetched_at IS NOT NULL AND now() < COALESCE(expires_at,",
        "SELECT last_fetched_at IS NULL AND now() < COALESCE(expires_at,",
        f"{HOOKS}::TestServed::test_a_replay_changes_nothing_and_calls_nobody",
    ),
    Mutation(
        "the challenge is plain text",
        "service/http/webhook.py",
        '            content_type="text/plain",\n',
        '            content_type="text/html",\n',
        f"{HOOKS}::TestServed::test_only_who_knows_the_verify_token_gets_the_challenge",
    ),
    Mutation(
        "API keys are compared in constant time",
        "service/http/auth.py",
        "found |= hmac.compare_digest(given, key)",
        "found |= given == key",
        f"{HOOKS}::test_secrets_are_compared_in_constant_time",
    ),
    Mutation(
        "wrong keys are limited",
        "service/http/guesses.py",
        "if self._count(counted_as(address)) > WRONG_A_MINUTE:",
        "if False:",
        f"{KEYS}::test_guesses_are_limited_and_the_right_key_never_is",
    ),
    Mutation(
        "right keys are not",
        "service/http/auth.py",
        "        is_operator = _is_among(given, self._operator)\n",
        "        self._guesses.refuse(request.remote)\n"
        "        is_operator = _is_among(given, self._operator)\n",
        f"{KEYS}::test_guesses_are_limited_and_the_right_key_never_is",
    ),
    Mutation(
        "an inbox key is no operator's",
        "service/http/auth.py",
        'if self._role(request) != "operator":',
        'if self._role(request) == "":',
        f"{KEYS}::test_an_inbox_key_opens_no_operators_route",
    ),
    Mutation(
        "a route needs a key",
        "service/http/server.py",
        "browser(users.many)",
        "users.many",
        f"{KEYS}::test_no_route_opens_without_a_key",
    ),
    Mutation(
        "an operator's route needs an operator's",
        "service/http/server.py",
        "operator(operators.erase)",
        "inbox(operators.erase)",
        f"{KEYS}::test_an_inbox_key_opens_no_operators_route",
    ),
    Mutation(
        "a grant is signed",
        "service/http/grant_signing.py",
        'if match is None or not self._is_ours(grant, match["signed"]):',
        "if match is None:",
        "tests/http/test_grants.py",
    ),
    Mutation(
        "a grant ends",
        "service/http/grant_signing.py",
        "return until if self._clock() < until else None",
        "return until",
        "tests/http/test_grants.py",
    ),
    Mutation(
        "the token is in no address",
        "service/graph/calls.py",
        "params=query",
        'params={**query, "access_token": token}',
        f"{GRAPH}::test_the_token_travels_in_the_header_alone",
    ),
    Mutation(
        "calls carry appsecret_proof",
        "service/graph/calls.py",
        '{"appsecret_proof": self._proof(token)} if',
        "{} if",
        f"{GRAPH}::test_the_token_is_signed_with_the_apps_secret",
    ),
    Mutation(
        "redirects are not followed",
        "service/graph/calls.py",
        "allow_redirects=False",
        "allow_redirects=True",
        f"{GRAPH}::test_no_redirect_is_followed",
    ),
    Mutation(
        "no proxy is read from the environment",
        "service/graph/calls.py",
        "trust_env=False",
        "trust_env=True",
        f"{GRAPH}::test_what_is_fetched_reads_no_proxy_and_keeps_no_cookie",
    ),
    Mutation(
        "a token that Graph repeats is not kept",
        "service/graph/calls.py",
        "decode(body, secrets)",
        "decode(body)",
        f"{GRAPH}::test_a_token_that_graph_repeats_is_not_kept",
    ),
    Mutation(
        "an id is digits",
        "service/model/contacts.py",
        "return value if is_id else None",
        "return value",
        f"{GRAPH}::test_what_is_no_id_makes_no_path",
    ),
    Mutation(
        "an id is ASCII",
        "service/model/contacts.py",
        "value.isascii() and value.isdigit()",
        "value.isdigit()",
        f"{GRAPH}::test_what_is_no_id_makes_no_path",
    ),
    Mutation(
        "a token is bound to its account",
        "service/vault.py",
        ", ig_account_id.encode()",
        ', b""',
        f"{SECRETS}::test_a_sealed_token_opens_for_its_account_alone",
    ),
    Mutation(
        "a token is encrypted",
        "service/store/connections.py",
        "self._vault.seal(access_token, ig_account_id)",
        "access_token",
        f"{SECRETS}::test_a_whole_run_leaves_no_secret_anywhere",
    ),
    Mutation(
        "a token stands in no log",
        "service/resolving/profile_calls.py",
        "        token = self.open_token(claim)\n",
        "        token = self.open_token(claim)\n"
        '        __import__("structlog").get_logger().info("calling", token=token)\n',
        f"{SECRETS}::test_a_whole_run_leaves_no_secret_anywhere",
    ),
    Mutation(
        "an answer repeats nothing that was sent",
        "service/http/bodies.py",
        'raise bad_request("The body is not JSON.") from None',
        "raise bad_request(repr(body)) from None",
        f"{SECRETS}::test_a_whole_run_leaves_no_secret_anywhere",
    ),
    Mutation(
        "settings hide their values in `repr`",
        "service/settings/__init__.py",
        "    meta_verify_token: Secret\n",
        "    meta_verify_token: str\n",
        f"{SECRETS}::test_settings_and_vault_show_no_secret",
    ),
    Mutation(
        "settings hide their values in errors",
        "service/settings/__init__.py",
        "{message.removeprefix('Value error, ')}\"",
        '{message}" + str(__import__("os").environ)',
        f"{SECRETS}::test_settings_that_are_wrong_are_named_and_not_shown",
    ),
    Mutation(
        "a traceback in JSON shows no variables",
        "service/logs.py",
        "show_locals=False",
        "show_locals=True",
        f"{SECRETS}::test_a_traceback_shows_no_local_variable",
    ),
    Mutation(
        "a traceback on a terminal shows none either",
        "service/logs.py",
        ", exception_formatter=structlog.dev.plain_traceback",
        "",
        f"{SECRETS}::test_a_traceback_shows_no_local_variable",
    ),
    Mutation(
        "a log line is one line",
        "service/logs.py",
        "return [_escape_controls, renderer]",
        "return [renderer]",
        f"{INJECTION}::test_a_terminal_is_told_nothing_by_a_log_line",
    ),
    Mutation(
        "a request id is checked before it is given back",
        "service/http/problems.py",
        "_SAFE_REQUEST_ID.fullmatch(given)",
        "given",
        f"{INJECTION}::TestServed::test_a_request_id_that_is_none_is_replaced",
    ),
    Mutation(
        "a problem tells nothing of a crash",
        "service/http/problems.py",
        '"An unexpected error; see the log."',
        '__import__("traceback").format_exc()',
        "tests/security/test_problems.py",
    ),
    Mutation(
        "a problem tells nothing of the database",
        "service/http/problems.py",
        "        response = _problem(unavailable(_NO_DATABASE), request_id)\n",
        "        response = _problem("
        "ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, str(error)), request_id)\n",
        "tests/security/test_problems.py",
    ),
    Mutation(
        "what is not HTTP gets a problem",
        "service/http/connection.py",
        "if status >= HTTPStatus.INTERNAL_SERVER_ERROR or request.writer.output_size > 0:",
        "if True:",
        "tests/abuse/test_broken_http.py::test_it_is_refused_with_a_problem",
    ),
    Mutation(
        "a head must come in time",
        "service/http/connection.py",
        "HEAD_WITHIN_S = 10.0",
        "HEAD_WITHIN_S = 3600.0",
        f"{CONNECTIONS}::test_who_is_slow_is_shown_out_while_others_are_served",
    ),
    Mutation(
        "a body must come in time",
        "service/http/bodies.py",
        "BODY_WITHIN_S = 10.0",
        "BODY_WITHIN_S = 3600.0",
        f"{CONNECTIONS}::test_who_is_slow_is_shown_out_while_others_are_served",
    ),
    Mutation(
        "a head has an end",
        "service/http/connection.py",
        "MOST_HEAD_BYTES = 32 * 1024",
        "MOST_HEAD_BYTES = 1 << 40",
        f"{CONNECTIONS}::test_a_head_that_never_ends_is_cut_off_by_its_size",
    ),
    Mutation(
        "connections are counted",
        "service/http/tcp_limits.py",
        "if self.open >= self._most:",
        "if False:",
        f"{CONNECTIONS}::test_connections_beyond_the_bound_are_refused_aloud",
    ),
    Mutation(
        "an address gets a part of the connections",
        "service/http/tcp_limits.py",
        "if self._by_address[counted_as(address)] >= max(1, most):",
        "if False:",
        f"{TCP_LIMITS}::test_over_the_wire_one_address_leaves_room_for_another",
    ),
    Mutation(
        "a client that does not read is cut off",
        "service/http/tcp_limits.py",
        "UNREAD_WITHIN_S, self._cut_off, transport)",
        "UNREAD_WITHIN_S, lambda _: None, transport)",
        f"{TCP_LIMITS}::test_a_client_that_does_not_read_is_cut_off",
    ),
    Mutation(
        "no body is read for what can't be signed",
        "service/receiving/webhook.py",
        "if _SIGNATURE.fullmatch(headers[0]) is None:",
        "if False:",
        f"{BODIES}::test_what_can_not_be_signed_is_refused_before_its_body",
    ),
    Mutation(
        "bodies that arrive share a budget",
        "service/http/bodies.py",
        "if self.held + size > self._most:",
        "if False:",
        f"{BODIES}::test_bodies_that_arrive_share_a_budget",
    ),
    Mutation(
        "no answer to a key is kept by a cache",
        "service/http/answers.py",
        '"Cache-Control: no-store\\r\\n"',
        '""',
        "tests/http/test_proxy_cache.py",
    ),
    Mutation(
        "two keys are refused",
        "service/http/auth.py",
        "if len(given) > 1:",
        "if False:",
        "tests/http/test_auth.py::test_two_authorization_headers_are_refused",
    ),
    Mutation(
        "a grant opens a part of the event streams",
        "service/http/events.py",
        "bounds[request[GRANTED].grant] = MOST_A_GRANT",
        "bounds[request[GRANTED].grant] = 10**9",
        "tests/http/test_events.py::test_a_grant_opens_a_part_of_the_streams",
    ),
    Mutation(
        "a terminal is not steered",
        "service/commands/output.py",
        "return Text(printable_lines(text), style)",
        "return Text(text, style)",
        "tests/commands/test_terminal.py",
    ),
    Mutation(
        "json for a terminal is escaped",
        "service/commands/output.py",
        '"".join(map(_json_character, text))',
        "text",
        "tests/commands/test_terminal.py",
    ),
    Mutation(
        "what is to be pasted is quoted",
        "service/wording.py",
        "return shlex.quote(text)",
        "return text",
        "tests/commands/test_terminal.py",
    ),
    Mutation(
        "names have an end",
        "service/graph/answers.py",
        "bounded_name(",
        "(",
        "tests/service/test_lookup.py::test_a_name_without_end_is_cut_where_it_is_read_and_where_it_is_shown",
    ),
    Mutation(
        "only https addresses are passed on",
        "service/model/identity.py",
        'is_allowed = url[:8].lower() == "https://"',
        "is_allowed = True",
        "tests/service/test_lookup.py::test_an_address_that_is_not_https_is_not_passed_on",
    ),
    Mutation(
        "a body has an end",
        "service/http/bodies.py",
        "MOST_BODY_BYTES = 1024 * 1024",
        "MOST_BODY_BYTES = 64 * 1024 * 1024",
        "tests/abuse/test_deliveries.py::test_a_body_in_chunks_may_not_have_more",
    ),
    Mutation(
        "a compressed body is not unpacked",
        "service/http/connection.py",
        'auto_decompress": False',
        'auto_decompress": True',
        "tests/abuse/test_deliveries.py::test_a_compressed_body_is_taken_as_it_came",
    ),
    Mutation(
        "the database role may change rows only",
        "deploy/least-privilege.sql",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON",
        "GRANT ALL ON",
        "tests/security/test_role.py::test_it_may_not",
    ),
    Mutation(
        "packages are pinned by hash",
        "Dockerfile",
        " --require-hashes",
        "",
        f"{CONTAINER}::test_packages_are_installed_from_the_lock_by_hash_alone",
    ),
    Mutation(
        "the container's user has no privileges",
        "Dockerfile",
        "USER 10001:10001",
        "USER 0:0",
        f"{CONTAINER}::test_the_service_runs_as_a_numeric_user_without_privileges",
    ),
    Mutation(
        "no second call outside the budget",
        "service/graph/calls.py",
        "middlewares=[_send_once]",
        "middlewares=[]",
        "tests/graph/test_calls.py",
    ),
    Mutation(
        "the sandbox signs in nobody of another address",
        "sandbox/own_browser.py",
        '        _is_loopback(urlsplit(f"//{request.host}").hostname)\n        and ',
        "        ",
        f"{SANDBOX}::test_other_sites_and_tunnels_are_not_signed_in",
    ),
    Mutation(
        "the sandbox signs in nobody behind a tunnel",
        "sandbox/own_browser.py",
        "        and not any(name.lower() in _FORWARDED for name in request.headers)\n",
        "",
        f"{SANDBOX}::test_other_sites_and_tunnels_are_not_signed_in",
    ),
    Mutation(
        "the sandbox signs in no other user of the machine",
        "sandbox/own_browser.py",
        "        and _users_of_peer(request) == {os.getuid()}\n",
        "",
        f"{SANDBOX}::test_other_users_of_the_machine_are_not_signed_in",
    ),
)
