"""No byte of a token can be another one: each is changed in turn, and tried for real."""

import asyncio

import asyncpg
import pytest

from support import EXAMPLE_ARN

AT_ONCE = 8


async def admitted(server, role, tokens):
    """The indexes of those that open the door, or that are refused in an unexpected way."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def attempt(index, token):
        async with limit:
            try:
                connection = await server.asyncpg(role, token)
            except asyncpg.PostgresError as error:
                return None if error.sqlstate == "08006" else (index, error.sqlstate)
            await connection.close()
            return index, "admitted"

    outcomes = await asyncio.gather(*(attempt(*pair) for pair in enumerate(tokens)))
    return [outcome for outcome in outcomes if outcome]


def variants(token):
    """One for each byte: with another byte there that can stand in a password."""
    for at, byte in enumerate(token):
        other = next(chr(ord(byte) ^ bit) for bit in (1, 2, 4, 8)
                     if 0x20 < ord(byte) ^ bit < 0x7F)
        yield token[:at] + other + token[at + 1:]


@pytest.mark.parametrize("profile", ["admin", "example"])
def test_changed(server, role, profile):
    name = "admin"
    if profile == "example":
        name = role("every_byte")
        server.execute(f"AWS IAM GRANT every_byte TO '{EXAMPLE_ARN}'")
    token = server.token(profile, ExpiresIn=3600)
    assert server.admits(name, token)
    # The session token is compared as a whole: the first and the last bytes stand for all.
    before, name_of_it, after = token.partition("X-Amz-Security-Token=")
    changed = list(variants(token))
    if name_of_it:
        start = len(before) + len(name_of_it)
        end = start + after.index("&")
        changed = changed[:start + 20] + changed[end - 20:]
    assert asyncio.run(admitted(server, name, changed)) == []
    assert server.admits(name, token), "the token expired meanwhile, so nothing was shown"


def test_left_out(server):
    token = server.token("admin", ExpiresIn=3600)
    shorter = [token[:at] + token[at + 1:] for at in range(len(token)) if token[at - 1] != "/"]
    shorter = [text for text in shorter if text.replace("/?", "?") != token.replace("/?", "?")]
    assert asyncio.run(admitted(server, "admin", shorter)) == []


def test_cut_off(server):
    token = server.token("admin", ExpiresIn=3600)
    shorter = [token[:length] for length in range(1, len(token))]
    assert asyncio.run(admitted(server, "admin", shorter)) == []


def test_twice(server):
    token = server.token("admin", ExpiresIn=3600)
    assert asyncio.run(admitted(server, "admin", [token * 2, token + "&", "&" + token])) == []
