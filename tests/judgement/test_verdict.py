"""The verdict is about names: what operators are told for which figures."""

from datetime import UTC, datetime

import msgspec
import pytest

from service.judgement.figures import AccountWriters, Figures, PauseFigure, Writers
from service.judgement.token_rules import TokenWarning
from service.judgement.verdict import Verdict, judge, worst_first
from service.model.calls import PauseReason, UserReason
from service.reasons import REASONS, reason_of

SHOP = "17841400000000001"
AT = datetime(2026, 11, 26, 23, 13, tzinfo=UTC)


def shop(**given: object) -> AccountWriters:
    named = {"ig_account_id": SHOP, "username": "shop", "location_id": "loc 1"}
    return AccountWriters(**(named | given))  # type: ignore[arg-type]


def judge_shop(*pauses: PauseFigure, **given: object) -> Verdict:
    account = shop(**given)
    everybody = Writers(**{n: getattr(account, n) for n in Writers.__struct_fields__})
    return judge(Figures(everybody, [account], pauses, connected=1))


def test_names_for_everybody_are_ok() -> None:
    verdict = judge_shop(wrote=40, named=40)
    assert verdict == Verdict(
        "ok", ["40 of the 40 people who wrote within the last hour have a name."], []
    )


def test_nobody_has_a_name_though_the_machinery_runs() -> None:
    verdict = judge_shop(wrote=40, nameless={"not_found": 40}, codes={"not_found": "100/33"})
    assert verdict.level == "broken"
    [sentence], [cause] = verdict.sentences, verdict.causes
    assert sentence == (
        "40 people wrote to @shop in the last hour and none has a name: Meta knows none of them "
        "(code 100/33). The token probably belongs to another account. Connect the right one."
    )
    assert cause.command == f"python -m service connections add {SHOP} --location 'loc 1'"


def test_missing_consent_of_all_who_have_just_written_is_not_the_explanation() -> None:
    [cause] = judge_shop(wrote=20, nameless={"consent_required": 20}).causes
    assert cause.level == "broken"
    assert (cause.likely or "").startswith("All 20 had just written, so missing consent is not")
    assert "Advanced Access" in (cause.cure or "")


def test_each_reason_has_its_share() -> None:
    verdict = judge_shop(wrote=30, named=8, nameless={"not_found": 20, "timeout": 2})
    assert verdict.level == "attention"
    [cause] = verdict.causes
    assert cause.text == (
        "22 of the 30 people who wrote to @shop in the last hour have no name: "
        "Meta does not know 20 of them, Meta did not answer in time for 2 of them."
    )


def test_a_few_without_consent_among_many_are_normal() -> None:
    verdict = judge_shop(wrote=50, named=40, nameless={"consent_required": 10})
    assert verdict.level == "ok"
    assert "Meta says that none of them has consented" in verdict.sentences[1]
    assert "just written" not in verdict.sentences[1]


def test_one_person_is_not_called_people() -> None:
    verdict = judge_shop(wrote=1, nameless={"not_found": 1})
    assert verdict.level == "ok"
    assert verdict.causes[0].text == (
        "1 person wrote to @shop in the last hour and has no name: Meta does not know this person."
    )


@pytest.mark.parametrize(
    ("reason", "level"),
    [
        ("token_invalid", "broken"),
        ("permission", "broken"),
        ("no_connection", "broken"),
        ("bad_request", "broken"),
        ("policy_block", "broken"),
        ("throttled", "attention"),
        ("outage", "attention"),
    ],
)
def test_a_pause_is_told_once_with_its_end_its_people_and_its_cure(reason: str, level: str) -> None:
    pause = PauseFigure(f"account:{SHOP}", reason, AT, 12, "shop", "loc 1")
    verdict = judge_shop(pause, wrote=5, nameless={reason: 5})
    [cause] = verdict.causes
    assert verdict.level == cause.level == level
    assert cause.text == (
        f"@shop is not called until 26 November 23:13 UTC ({reason}): {reason_of(reason).words}. "
        "12 people wait; 5 of 5 who wrote in the last hour have no name."
    )
    assert cause.cure


def test_a_stranger_account_that_few_write_to_can_wait() -> None:
    pause = PauseFigure(f"account:{SHOP}", "no_connection", None)
    assert judge_shop(pause, wrote=1, nameless={"no_connection": 1}).level == "attention"


def test_a_pause_of_the_app_is_told_without_an_account() -> None:
    verdict = judge(Figures(Writers(), pauses=[PauseFigure("app", "outage", AT, 1000)]))
    assert verdict.causes[0].text.startswith("No account is called until 26 November 23:13 UTC")
    assert "At least 1,000 people wait." in verdict.causes[0].text


def test_a_dead_token_that_has_no_pause_is_broken_all_the_same() -> None:
    assert judge_shop(wrote=1, nameless={"token_invalid": 1}).level == "broken"


def test_the_broker_is_not_blamed_for_postgres() -> None:
    said = judge(Figures(Writers(), is_postgres_up=False)).sentences
    assert len(said) == 1
    assert said[0].startswith("PostgreSQL does not answer")
    assert "broker" not in said[0]
    assert judge(Figures(Writers(), is_broker_up=False)).sentences[0].startswith("The broker does")


def test_people_who_wait_for_long_are_told_of() -> None:
    busy = Figures(Writers(40, 0, 40, 30), oldest_wait_s=90, queued=600, calls_per_second=10)
    assert judge(busy).level == "attention"
    assert "takes about 60 s at the budget's 10 calls a second" in judge(busy).sentences[0]
    stuck = Figures(Writers(40, 0, 40, 40))
    assert judge(stuck).level == "broken"


def test_what_to_do_about_a_token_is_told() -> None:
    ending = TokenWarning(
        "ends", SHOP, "loc_1", None, f"The token of {SHOP} ends on 1 May.", "Replace it.", "add"
    )
    verdict = judge(Figures(Writers(), token_warnings=[ending]))
    assert verdict.sentences == [f"The token of {SHOP} ends on 1 May. Replace it."]
    assert (verdict.level, verdict.causes[0].command) == ("attention", "add")
    urgent = msgspec.structs.replace(ending, is_urgent=True)
    assert judge(Figures(Writers(), token_warnings=[urgent])).level == "broken"


def test_the_worst_account_stands_first_among_many() -> None:
    accounts = [shop(ig_account_id=str(n), wrote=5, named=5) for n in range(61)]
    accounts.append(shop(ig_account_id="99", username="broken", wrote=5, nameless={"refused": 5}))
    assert worst_first(accounts)[0].username == "broken"
    verdict = judge(Figures(Writers(310, 305, 0, 0, {"refused": 5}), accounts))
    assert verdict.level == "broken"
    assert [cause.ig_account_id for cause in verdict.causes] == ["99"]


def test_more_than_can_be_read_is_summed_up() -> None:
    ends = [TokenWarning("ends", str(n), "loc_1", None, f"Token {n}", "") for n in range(25)]
    told = judge(Figures(Writers(), token_warnings=ends)).sentences
    assert told[-1] == "5 more things to look at."


def test_no_text_of_others_steers_a_terminal() -> None:
    cause = judge_shop(username="s\x1b[2Jhop", wrote=5, nameless={"not_found": 5}).causes[0]
    assert "\x1b" not in cause.sentence


@pytest.mark.parametrize("reason", [*UserReason.__args__, *PauseReason.__args__])  # type: ignore[attr-defined]
def test_every_reason_has_words_and_a_cure(reason: str) -> None:
    assert REASONS[reason].words
    assert REASONS[reason].cure
