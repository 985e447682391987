"""Whether refusals can be told apart by the time that they take. No test: a measurement.

    python tests/python/timing.py DIRECTORY [ROUNDS]

takes a server that `cargo xtask up` made, by its folder, and prints a table in Markdown. The kinds of
refusals take turns in a random order, so that whatever else the machine does meets all of them. Time
runs from the token's last byte to the error's first (`refusal`), and from the startup packet to the
request for the password (`request`).

Two kinds are compared by the Mann-Whitney U test: `AUC` is the chance that one of the first kind takes
longer than one of the second, 0.5 where nothing can be told from a single try; `p` is how likely a
distance from 0.5 as large as this is where there is none.
"""

import bisect
import math
import random
import statistics
import sys
import time

from support import ACCOUNT, Key, Server, Wire, sign

SEED = 1


def refusal(server, role, token):
    """Seconds until the request for the password, and until the refusal."""
    with Wire(server) as wire:
        began = time.perf_counter()
        wire.start(role).asked_for_password()
        asked = time.perf_counter()
        wire.password(token)
        error = wire.error()
        over = time.perf_counter()
    assert error["severity"] == "FATAL"
    return asked - began, over - asked, error


def mann_whitney(first, second):
    """AUC and p, in the normal approximation; times on a clock of nanoseconds are hardly ever tied."""
    ordered = sorted(second)
    larger = sum((bisect.bisect_left(ordered, value) + bisect.bisect_right(ordered, value)) / 2
                 for value in first)
    pairs = len(first) * len(second)
    deviation = math.sqrt(pairs * (len(first) + len(second) + 1) / 12)
    distance = abs(larger - pairs / 2) / deviation
    return larger / pairs, math.erfc(distance / math.sqrt(2))


def kinds(server):
    """By the answer that a client sees, but for the HINT that tells an unknown key, as Aurora DSQL does,
    from a wrong signature: names and how to get it."""
    known, example = server.key("example"), server.key("example")
    unknown_key = Key("ASIA" + "TIMING" * 2 + "UNKN", known.secret, known.session_token)
    wrong_secret = Key(known.id, "not-the-secret-of-this-access-key", known.session_token)
    good = lambda: sign(example, "DbConnect").encode()
    return {
        "access key": {
            "unknown access key": ("timing_unmapped", lambda: sign(unknown_key, "DbConnect").encode()),
            "wrong signature": ("timing_unmapped", lambda: sign(wrong_secret, "DbConnect").encode()),
        },
        "role": {
            "unknown role": ("timing_unknown", good),
            "unmapped role": ("timing_unmapped", good),
            "role mapped to another": ("timing_others", good),
            "role without LOGIN": ("timing_nologin", good),
            "superuser": ("timing_super", good),
        },
    }


def microseconds(values):
    quartiles = statistics.quantiles(values, n=4)
    return " | ".join(f"{quartile * 1e6:,.0f}" for quartile in quartiles)


def main(directory, rounds=2000):
    server = Server.at(directory)
    roles = {"timing_unmapped": "LOGIN", "timing_others": "LOGIN", "timing_nologin": "NOLOGIN",
             "timing_super": "LOGIN SUPERUSER"}
    server.execute(*(f"DROP ROLE IF EXISTS {role}" for role in roles),
                   *(f"CREATE ROLE {role} {attributes}" for role, attributes in roles.items()),
                   f"AWS IAM GRANT timing_others TO 'arn:aws:iam::{ACCOUNT}:role/another'")
    try:
        for group, members in kinds(server).items():
            measure(server, group, members, rounds)
    finally:
        server.execute("SELECT sys.iam_revoke(pg_role_name, arn) FROM sys.iam_pg_role_mappings "
                       "WHERE pg_role_name = 'timing_others'",
                       *(f"DROP ROLE {role}" for role in roles))


def measure(server, group, members, rounds):
    order = random.Random(SEED)
    times = {name: ([], []) for name in members}
    answers = set()
    for number in range(rounds + 50):
        for name in order.sample(list(members), len(members)):
            role, token = members[name]
            asked, refused, error = refusal(server, role, token())
            answers.add((error["sqlstate"], error["message"]))
            if number >= 50:  # the first ones warm up
                times[name][0].append(asked)
                times[name][1].append(refused)
    assert len(answers) == 1, answers
    print(f"\n{group}: {rounds} of each, µs\n")
    print("| kind | request: 25 % | 50 % | 75 % | refusal: 25 % | 50 % | 75 % |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, (asked, refused) in times.items():
        print(f"| {name} | {microseconds(asked)} | {microseconds(refused)} |")
    print("\n| compared | request: AUC | p | refusal: AUC | p |\n|---|--:|--:|--:|--:|")
    names = list(members)
    for number, one in enumerate(names):
        for other in names[number + 1:]:
            cells = [mann_whitney(a, b) for a, b in zip(times[one], times[other])]
            print(f"| {one}, {other} | " + " | ".join(
                f"{auc:.3f} | {p:.2g}" for auc, p in cells) + " |")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
