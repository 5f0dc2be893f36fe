"""Which image an answer belongs to if meta texts are the same. Uses no broker and no file."""

from __future__ import annotations

import numpy as np
import pytest

from clients.errors import AnswerError
from clients.files.entries import Entry
from clients.simple.answers import Answers
from clients.simple.questions import Sent, SimpleQuestion
from lartpc import RSE, Batch, Image, ImageMeta, pack, stack

NAME = RSE(1, 2, 3)
PLACES = {"a": 1234567.1, "b": 1234567.4}  # one text: 1.23457e+06


def image(name: str) -> Image:
    meta = ImageMeta(16, 96, 16, 16, PLACES[name], 5000, 0)
    return Image(meta, np.full((16, 16), len(name), np.float32))


def question() -> SimpleQuestion:
    batches = [stack(name, [(NAME, [image(name)])]) for name in PLACES]
    assert batches[0].meta == batches[1].meta
    sent = tuple(Sent(batch.name, batch.meta, ((image(batch.name).meta,),)) for batch in batches)
    return SimpleQuestion((ENTRY,), sent, tuple(pack(batches)), complete=True)


ENTRY = Entry(0, NAME, "in.root entry 0")


def answered(*names: str) -> dict[str, float]:
    """By the names of the answers, the place of the image that each was taken to answer."""
    batch = stack("a", [(NAME, [image("a")])])
    reply = pack([Batch(name, batch.meta, batch.array) for name in names])
    (one,) = Answers().take(question(), reply)
    return {name: images[0].meta.origin_x for name, images in one.event.images.items()}


def test_answers_with_one_text_are_order_shown_by_their_order() -> None:
    assert answered("sa", "sb") == {"sa": PLACES["a"], "sb": PLACES["b"]}


def test_answers_with_one_text_are_order_shown_by_their_names() -> None:
    assert answered("b", "a") == PLACES
    assert answered("b") == {"b": PLACES["b"]}


@pytest.mark.parametrize("names", [["s"], ["sa", "sb", "sc"], ["b", "sa"], ["sa", "b"]], ids=str)
def test_answers_that_could_be_to_either_are_refused(names: list[str]) -> None:
    with pytest.raises(AnswerError, match=r"in.root entry 0 .*want an answer to each of .'a', 'b'"):
        answered(*names)


@pytest.mark.parametrize("name", ["/", "a b", "a\0", "..", "w" * 201])
def test_a_name_that_no_file_can_hold_is_refused(name: str) -> None:
    with pytest.raises(AnswerError, match="want a name of letters"):
        answered(name)
