"""What failed, by the error: the input, the services, the networks, the disk, or the settings."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from clients.campaign.readers.verdicts import kind_of
from clients.errors import AnswerError
from clients.files.failed_report import Failure
from clients.scoring.output.failures import BAD_INPUT, EventFailed, Tally, TooManyFailed
from lartpc import FileExists, ImageError, LibraryMissing, ProductMissing, ReadError, WriteError
from lartpc.errors import ParameterError, TickOrderError
from mdp import NotServed, RequestTimeout, ServiceError, SettingsError
from mdp.pool.pool_folder import PoolError


def failure(code: int) -> Failure:
    return Failure(0, "in.root entry 0", 1, 1, 1, None, None, code, "bad")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ReadError("damaged"), "input"),
        (ProductMissing("no wire"), "input"),
        (ImageError("NaN"), "input"),
        (TickOrderError("both"), "input"),
        (WriteError("full"), "write"),
        (FileExists("there"), "write"),
        (OSError(errno.ENOSPC, "full"), "write"),
        (NotServed("no workers"), "service"),
        (RequestTimeout("silence"), "service"),  # an OSError, too
        (PoolError("stopped"), "service"),
        (ServiceError("500"), "service"),
        (AnswerError("another network"), "network"),
        (SettingsError("crops of 32"), "settings"),
        (ParameterError("crops of 32"), "settings"),
        (LibraryMissing("h5py"), "settings"),
    ],
)
def test_the_kind_of_an_error(error: Exception, kind: str) -> None:
    assert kind_of(error) == kind


def test_an_input_that_does_not_fit_the_options_is_the_input() -> None:
    assert kind_of(SettingsError("no regions"), is_opening=True) == "input"


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        ([BAD_INPUT] * 10, "input"),
        ([500] * 10, "network"),
        ([500] * 6 + [BAD_INPUT] * 4, "network"),
    ],
)
def test_too_many_failed_events_are_the_inputs_or_the_networks(codes: list[int], kind: str) -> None:
    tally = Tally(max_failed=0.1, strict=False)
    for code in codes[:-1]:
        tally.count([failure(code)])
    with pytest.raises(TooManyFailed) as caught:
        tally.count([failure(codes[-1])])
    assert kind_of(caught.value) == kind


@pytest.mark.parametrize(("code", "kind"), [(BAD_INPUT, "input"), (502, "network")])
def test_the_first_failure_of_a_strict_run(code: int, kind: str) -> None:
    tally: Any = Tally(max_failed=0.1, strict=True)
    with pytest.raises(EventFailed) as caught:
        tally.count([failure(code)])
    assert kind_of(caught.value) == kind
