"""How many bytes may be on their way to peers that do not read them."""

from __future__ import annotations

from dataclasses import dataclass

from mdp.sockets.unread import Unread

MB = 1 << 20


@dataclass
class Tracker:
    """As libzmq's: done when the message has been written to the connection."""

    done: bool = False


def sent(unread: Unread, peer: bytes, size: int) -> Tracker | None:
    """Send a message: its tracker, if it has one."""
    if not unread.wants_tracker(peer, size):
        return None
    tracker = Tracker()
    unread.add(peer, tracker)
    return tracker


def test_a_peer_that_does_not_read_gets_no_more_than_its_limit() -> None:
    unread = Unread(max_peer_bytes=20 * MB, max_bytes=100 * MB)
    count = 0
    while unread.has_room(b"slow", 5 * MB):
        sent(unread, b"slow", 5 * MB)
        count += 1
    assert count == 4
    assert unread.has_room(b"other", 5 * MB)


def test_a_peer_that_reads_gets_as_much_as_it_wants() -> None:
    unread = Unread(max_peer_bytes=20 * MB, max_bytes=100 * MB)
    for _ in range(1000):
        assert unread.has_room(b"fast", 5 * MB)
        tracker = sent(unread, b"fast", 5 * MB)
        assert tracker is not None
        tracker.done = True


def test_a_message_larger_than_the_limit_is_sent_to_a_peer_that_has_read_all() -> None:
    unread = Unread(max_peer_bytes=1 * MB, max_bytes=2 * MB)
    assert unread.has_room(b"peer", 50 * MB)
    sent(unread, b"peer", 50 * MB)
    assert not unread.has_room(b"peer", 1)


def test_one_message_in_some_mib_is_tracked_and_stands_for_those_before_it() -> None:
    unread = Unread(max_peer_bytes=20 * MB, max_bytes=100 * MB)
    trackers = [sent(unread, b"slow", MB // 4) for _ in range(160)]
    assert sum(tracker is not None for tracker in trackers) == 10
    assert not unread.has_room(b"slow", MB)
    for tracker in trackers:
        if tracker is not None:
            tracker.done = True
    assert unread.has_room(b"slow", MB)


def test_all_peers_together_have_a_limit_but_each_gets_one_message() -> None:
    unread = Unread(max_peer_bytes=100 * MB, max_bytes=100 * MB)
    for number in range(20):
        sent(unread, b"slow%d" % number, 5 * MB)
    assert not unread.has_room(b"slow1", 5 * MB)
    assert unread.has_room(b"new", 5 * MB)


def test_peers_that_come_and_go_do_not_fill_the_memory() -> None:
    unread = Unread(max_peer_bytes=MB, max_bytes=MB)
    for number in range(50_000):
        sent(unread, b"peer%d" % number, 100_000)
    assert len(unread._untracked) <= 10_000


def test_peers_that_have_read_all_and_are_gone_are_forgotten() -> None:
    unread = Unread(max_peer_bytes=100 * MB, max_bytes=1000 * MB)
    for number in range(1000):
        tracker = sent(unread, b"peer%d" % number, 5 * MB)
        assert tracker is not None
        tracker.done = True
    assert len(unread._tracked) < 200
