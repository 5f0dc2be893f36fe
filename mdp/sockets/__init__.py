"""The clock, and all sockets except the load generator's. This folder does not depend on MDP.

Sending and receiving never block, except at the child's end of its stream.
"""

from .channel import Channel, ChildEnd, Stream
from .dealer import Dealer
from .descriptors import (
    CONTEXT_DESCRIPTORS,
    descriptor_limit,
    free_descriptors,
    no_descriptors,
    require_descriptors,
)
from .endpoints import Target, connect, target, tcp_family
from .gate import Gate, new_key_pair, require_curve
from .loop import Poll, Pollable, Wakeup, clock, new_context, pause, unix_time
from .messages import SMALL_BYTES, as_bytes, buffer_of, receive_message, send_message
from .reach import is_served, why_unreachable
from .router import Router
from .unread import Unread

__all__ = [
    "CONTEXT_DESCRIPTORS",
    "SMALL_BYTES",
    "Channel",
    "ChildEnd",
    "Dealer",
    "Gate",
    "Poll",
    "Pollable",
    "Router",
    "Stream",
    "Target",
    "Unread",
    "Wakeup",
    "as_bytes",
    "buffer_of",
    "clock",
    "connect",
    "descriptor_limit",
    "free_descriptors",
    "is_served",
    "new_context",
    "new_key_pair",
    "no_descriptors",
    "pause",
    "receive_message",
    "require_curve",
    "require_descriptors",
    "send_message",
    "target",
    "tcp_family",
    "unix_time",
    "why_unreachable",
]
