"""Orders that the page sends for an operator: checked here, and carried out by the broker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mdp import Client, MDPError, SettingsError
from mdp.commands.operate.control import OrderSender

_FIELDS = {"pause": "service", "resume": "service", "dismiss": "workers", "abort": "client"}
"""The orders of docs/protocol.md that the page has, and what each names."""
_MOST_CHARACTERS = 255


def order_of(wanted: Any) -> tuple[str, dict[str, Any]]:
    """Return the order and its map, from what the page sends. Raises `SettingsError`."""
    if not isinstance(wanted, Mapping):
        raise SettingsError("want an order as a map")
    order, name = str(wanted.get("order", "")), wanted.get("name")
    field = _FIELDS.get(order)
    if field is None:
        raise SettingsError(f"want one of the orders {', '.join(_FIELDS)}, got {order[:40]!r}")
    if not isinstance(name, str) or not 0 < len(name) <= _MOST_CHARACTERS or name.startswith("("):
        raise SettingsError(f"want the name that {order} is about, got {str(name)[:40]!r}")
    return order, {field: [name] if field == "workers" else name}


def carry_out(client: Client, order: str, wanted: dict[str, Any], *, timeout_s: float) -> str:
    """Send an order; return what became of it, in a sentence. Raises `MDPError`."""
    done = OrderSender(client, timeout_s).send(order, wanted)
    match order:
        case "pause":
            counts = f"{done['queued']} requests wait, workers hold {done['held']}"
            return f"{wanted['service']} is paused; {counts}"
        case "resume":
            return f"{wanted['service']} goes on; {done['queued']} requests are queued"
        case "dismiss":
            if not done["dismissed"]:
                raise MDPError("the worker had left before the order came")
            return "the worker ends when it has finished its request"
    return f"cancelled {done['cancelled']} requests"
