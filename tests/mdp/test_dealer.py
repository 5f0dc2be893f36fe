"""A socket that does not connect again keeps what has arrived, and reaches no other broker."""

from __future__ import annotations

import threading

import zmq
from zmq.auth.thread import ThreadAuthenticator

from mdp.settings import Heartbeats
from mdp.sockets import Dealer, Poll, clock, new_context, new_key_pair, target
from mdp.sockets.addresses import ClientKeys
from tests.support.processes import free_port, until


def test_an_answer_before_the_end_of_the_connection_is_kept_and_no_other_broker_is_reached() -> (
    None
):
    address = f"tcp://127.0.0.1:{free_port()}"
    server, context = zmq.Context(), new_context()
    first = server.socket(zmq.ROUTER)
    first.bind(address)
    dealer = Dealer(
        context,
        target(address),
        name=b"Lane",
        linger_s=0.0,
        heartbeats=Heartbeats(),
        reconnects=False,
    )
    try:
        dealer.send([b"question"])
        assert first.recv_multipart() == [b"Lane", b"question"]
        first.send_multipart([b"Lane", b"answer"])
        first.close(linger=1000)
        threading.Event().wait(0.5)  # the connection has ended meanwhile
        second = server.socket(zmq.ROUTER)
        until(lambda: _binds(second, address), "the port is free")
        Poll(dealer).wait(clock() + 5.0)
        assert dealer.receive() == [b"answer"]
        dealer.send([b"for the first broker only"])
        assert not second.poll(1000)
        second.close(linger=0)
    finally:
        dealer.close()
        context.term()
        server.term()


def test_what_is_sent_after_a_refused_key_is_dropped_and_raises_nothing() -> None:
    """libzmq gives up such a socket, so that it would refuse each message: EAGAIN."""
    server, context = zmq.Context(), new_context()
    broker_key, broker_secret = zmq.curve_keypair()
    router = server.socket(zmq.ROUTER)
    router.curve_server, router.curve_secretkey, router.zap_domain = True, broker_secret, b"test"
    refusing = ThreadAuthenticator(server)
    refusing.start()
    refusing.configure_curve_callback("test", _Refuse())
    port = router.bind_to_random_port("tcp://127.0.0.1")
    keys = ClientKeys(broker_key.decode(), *new_key_pair(), "anna")
    to = target(f"tcp://127.0.0.1:{port}", keys)
    dealer = Dealer(context, to, name=b"Lane", linger_s=0.0, heartbeats=Heartbeats())
    try:
        dealer.send([b"question"])
        socket = dealer.handle()
        until(lambda: not socket.poll(0, zmq.POLLOUT), "the key is refused")
        dealer.send([b"question", b"again"])
        assert dealer.receive() is None
        assert not router.poll(500)
    finally:
        dealer.close()
        context.term()
        refusing.stop()
        router.close(linger=0)
        server.term()


class _Refuse:
    def callback(self, domain: str, key: bytes) -> bool:
        return False


def _binds(socket: zmq.Socket[bytes], address: str) -> bool:
    try:
        socket.bind(address)
    except zmq.ZMQError:
        return False
    return True
