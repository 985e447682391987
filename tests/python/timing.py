"""Whether refusals can be told apart by the time that they take.

`cargo xtask test --release --only timing` runs it; it is no part of all tests, since it takes 20,000 logins.

The kinds of refusals take turns in a random order, so that whatever else the machine does meets all of them. Time runs
from the startup packet to the request for the password, and from the token's last byte to the error's first.

Two kinds are compared by the Mann-Whitney statistic: AUC is the chance that one of the first kind takes longer than one
of the second, 0.5 where nothing can be told from a single try. They are told apart if one of them still takes longer with
DELAY added to the other, and alike if each takes longer with DELAY added to itself; all of that has to be sure. In between
the machine is too noisy to say, and the test fails as well: it shows only what it would find on the same server at the
same time. If all are alike, it says of two that they are told apart in at most ERROR of its runs, all comparisons of a run
together (Bonferroni): the deviation of AUC is at most sqrt(AUC (1 - AUC) / SAMPLES), whatever the distributions are
(Birnbaum and Klose, 1957).
"""

import bisect
import itertools
import math
import random
import statistics
import time

import pytest

from support import ACCOUNT, Wire, sign

SAMPLES = 4000
WARMING_UP = 50
DELAY = 30  # µs
ERROR = 0.001
SEED = 1

ROLES = {"timing_unmapped": "LOGIN", "timing_others": "LOGIN", "timing_nologin": "NOLOGIN",
         "timing_super": "LOGIN SUPERUSER"}
# All have the same answer. An unknown access key and a wrong signature have not: the HINT tells them apart, as Aurora
# DSQL's does, so their times are not compared.
KINDS = ("unknown role", "unmapped role", "role mapped to another", "role without LOGIN", "superuser")
COMPARISONS = 2 * math.comb(len(KINDS), 2)


@pytest.fixture(scope="module")
def kinds(server):
    """By name: the role, and what makes a token."""
    server.execute(*(f"DROP ROLE IF EXISTS {role}" for role in ROLES),
                   *(f"CREATE ROLE {role} {attributes}" for role, attributes in ROLES.items()),
                   f"AWS IAM GRANT timing_others TO 'arn:aws:iam::{ACCOUNT}:role/another'")
    known = server.key("example")
    yield {
        "unknown role": ("timing_unknown", known),
        "unmapped role": ("timing_unmapped", known),
        "role mapped to another": ("timing_others", known),
        "role without LOGIN": ("timing_nologin", known),
        "superuser": ("timing_super", known),
    }
    server.execute("SELECT sys.iam_revoke(pg_role_name, arn) FROM sys.iam_pg_role_mappings "
                   "WHERE pg_role_name = 'timing_others'",
                   *(f"DROP ROLE {role}" for role in ROLES))


def refusal(server, role, key):
    """Microseconds until the request for the password, and until the refusal; and that."""
    token = sign(key, "DbConnect").encode()
    with Wire(server) as wire:
        began = time.perf_counter()
        wire.start(role).asked_for_password()
        asked = time.perf_counter()
        wire.password(token)
        error = wire.error()
        over = time.perf_counter()
    assert error["severity"] == "FATAL"
    return (asked - began) * 1e6, (over - asked) * 1e6, error


def auc(first, second):
    """The chance that one of the first is larger than one of the second, and half of that that both are equal."""
    ordered = sorted(second)
    larger = sum(bisect.bisect_left(ordered, value) + bisect.bisect_right(ordered, value) for value in first)
    return larger / 2 / len(first) / len(second)


def takes_longer(first, second):
    """Whether it is sure that the first take longer than the second."""
    z = statistics.NormalDist().inv_cdf(1 - ERROR / 2 / COMPARISONS)
    chance = auc(first, second)
    return chance - z * math.sqrt(chance * (1 - chance) / SAMPLES) > 0.5


def verdict(first, second):
    """By the microseconds that tries of each took."""
    delayed = lambda tries: [each + DELAY for each in tries]
    if takes_longer(first, delayed(second)) or takes_longer(second, delayed(first)):
        return "told apart"
    if takes_longer(delayed(first), second) and takes_longer(delayed(second), first):
        return "alike"
    return "too noisy"


def test_the_comparison_finds_what_it_should():
    """Of kinds that differ by nothing, by a little, and by more than the delay, on a machine with little noise and with much."""
    numbers = random.Random(SEED)
    tries = lambda shift, noise=DELAY: [noise * numbers.lognormvariate(0, 1) + shift for _ in range(SAMPLES)]
    assert abs(auc(tries(0), tries(0)) - 0.5) < 0.05
    assert auc([1, 2], [1, 2]) == 0.5
    assert verdict(tries(0), tries(0)) == "alike"
    assert verdict(tries(0), tries(DELAY / 3)) == verdict(tries(DELAY / 3), tries(0)) == "alike"
    assert verdict(tries(0), tries(2 * DELAY)) == verdict(tries(2 * DELAY), tries(0)) == "told apart"
    assert verdict(tries(0, 100 * DELAY), tries(0, 100 * DELAY)) == "too noisy"


def test_refusals_take_the_same_time(server, kinds):
    order = random.Random(SEED)
    times = {name: ([], []) for name in KINDS}
    answers = set()
    for number in range(SAMPLES + WARMING_UP):
        for name in order.sample(KINDS, len(KINDS)):
            asked, refused, error = refusal(server, *kinds[name])
            answers.add((error["sqlstate"], error["message"]))
            if number >= WARMING_UP:
                times[name][0].append(asked)
                times[name][1].append(refused)
    assert len(answers) == 1, answers
    for name, parts in times.items():
        quartiles = [", ".join(f"{value:.0f}" for value in statistics.quantiles(part, n=4)) for part in parts]
        print(f"{name}: request after {quartiles[0]} µs, refusal after {quartiles[1]} µs (quartiles)")
    verdicts = {}
    for one, other in itertools.combinations(KINDS, 2):
        for part, both in zip(("request", "refusal"), zip(times[one], times[other])):
            verdicts[one, other, part] = verdict(*both)
            print(f"{one}, {other}: AUC of the {part} {auc(*both):.3f}, {verdicts[one, other, part]}")
    with_verdict = lambda wanted: [which for which, found in verdicts.items() if found == wanted]
    assert not with_verdict("told apart")
    assert not with_verdict("too noisy"), f"the machine is too noisy for the test to find {DELAY} µs"
