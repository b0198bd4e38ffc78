import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.postgres_url import PostgresUrl, read_postgres_url


def read(rest: str) -> PostgresUrl:
    return read_postgres_url(f"postgresql://{rest}")


@pytest.mark.parametrize(
    ("url", "hosts", "ports", "user", "database"),
    [
        # Heroku, RDS, Supabase's pooler, Neon, SQLAlchemy
        ("postgres://u:p@ec2-1.example:5432/d1", ("ec2-1.example",), (5432,), "u", "d1"),
        ("postgresql://u:p@x.rds.amazonaws.com/app", ("x.rds.amazonaws.com",), (5432,), "u", "app"),
        ("postgresql://postgres.ref:p@p.example:6543/postgres?pgbouncer=true",
         ("p.example",), (6543,), "postgres.ref", "postgres"),
        ("postgresql://u:p@ep-1-pooler.neon.tech/db?sslmode=require&channel_binding=require",
         ("ep-1-pooler.neon.tech",), (5432,), "u", "db"),
        ("postgresql+asyncpg://u:p@db/app?ssl=require", ("db",), (5432,), "u", "app"),
        # libpq's own examples
        ("postgresql://u@a:1,b:2/d?target_session_attrs=any", ("a", "b"), (1, 2), "u", "d"),
        ("postgresql://u@[2001:db8::1234]/d", ("2001:db8::1234",), (5432,), "u", "d"),
        ("postgresql://u@%2Fvar%2Frun%2Fpostgresql/d", ("/var/run/postgresql",), (5432,), "u", "d"),
        ("postgresql:///d?host=localhost&port=5433&user=u", ("localhost",), (5433,), "u", "d"),
        ("postgresql:///?dbname=d&user=u&host=a,b&port=1", ("a", "b"), (1, 1), "u", "d"),
        ("postgresql://u@/d", (), (), "u", "d"),
        ("postgresql://u@db", ("db",), (5432,), "u", None),
    ],
)  # fmt: skip
def test_strings_are_read_as_libpq_reads_them(
    url: str, hosts: tuple[str, ...], ports: tuple[int, ...], user: str, database: str | None
) -> None:
    found = read_postgres_url(url)
    assert (found.hosts, found.ports) == (hosts, ports)
    assert (found.user, found.database) == (user, database)


@given(st.text(min_size=1).filter(lambda text: "\0" not in text and text.isprintable()))
def test_a_password_is_any_text_that_is_percent_encoded(password: str) -> None:
    encoded = "".join(f"%{byte:02x}" for byte in password.encode())
    found = read(f"u:{encoded}@db/d")
    assert found.password == password
    assert password == "p" or f"'{password}'" not in repr(found)


def test_a_plus_in_a_parameter_is_a_plus_but_for_options() -> None:
    found = read("db/d?user=u&password=a+b&options=-c+jit%3Doff")
    assert found.password == "a+b"
    assert found.server_settings["options"] == "-c jit=off"


@pytest.mark.parametrize(
    ("query", "left_out"),
    [
        ("sslmode=require&application_name=x&connect_timeout=3&options=-cjit%3Doff", ()),
        ("channel_binding=require&gssencmode=disable", ("channel_binding", "gssencmode")),
        ("keepalives=1&keepalives_idle=9&tcp_user_timeout=9",
         ("keepalives", "keepalives_idle", "tcp_user_timeout")),
        ("target_session_attrs=prefer-standby", ("target_session_attrs",)),
        ("ter2=x&word=y&schema=public", ("schema", "2 that no driver knows")),
    ],
)  # fmt: skip
def test_parameters_without_effect_are_named_but_for_what_may_be_a_piece_of_a_password(
    query: str, left_out: tuple[str, ...]
) -> None:
    assert read(f"u:p@db/d?{query}").left_out == left_out


@pytest.mark.parametrize(("given", "used"), [("", 5), ("0", 5), ("1", 2), ("10", 10), ("99", 30)])
def test_the_time_to_connect_has_bounds(given: str, used: float) -> None:
    assert read(f"u@db/d?connect_timeout={given}").connect_timeout_s == used


@pytest.mark.parametrize(
    ("ssl", "mode"), [("true", "require"), ("0", "disable"), ("verify-full", "verify-full")]
)
def test_other_drivers_words_for_tls_are_understood(ssl: str, mode: str) -> None:
    assert read(f"u@db/d?ssl={ssl}").parameters == {"sslmode": mode}


def test_a_container_whose_account_has_no_name_is_told_that_a_user_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4242")

    monkeypatch.delenv("PGUSER", raising=False)
    monkeypatch.setattr("getpass.getuser", nobody)
    with pytest.raises(ValueError, match=r"^names no user$"):
        read("db/app")


@given(st.text(), st.text())
def test_nothing_but_a_value_error_without_the_value_is_raised(before: str, after: str) -> None:
    said = ""
    try:
        read_postgres_url(f"{before}hunter3{after}")
    except ValueError as error:
        said = str(error)
    assert "hunter3" not in said
