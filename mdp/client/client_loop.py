"""Run a client's sockets (`lane`) in one thread; other threads pass requests to it."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ..errors import ClientClosed, MDPError
from ..settings import ClientSettings
from ..sockets import (
    CONTEXT_DESCRIPTORS,
    Dealer,
    Poll,
    Target,
    Wakeup,
    addresses,
    as_bytes,
    clock,
    descriptor_limit,
    free_descriptors,
    new_context,
    no_descriptors,
    require_descriptors,
    target,
    unix_time,
    why_unreachable,
)
from ..sockets.addresses import Place
from ..system.contact import host_name, locate, user_name
from ..system.logs import timestamp
from ..system.process import raise_file_limit
from ..wire import CLIENT_ID_BYTES, lane_name, who_frame
from . import lane, steps

log = logging.getLogger(__name__)

_SPARE_DESCRIPTORS = 64  # for the other files of the program
_DESCRIPTORS = 2  # of a lane: its mailbox and its connection
_LINGER_S = 0.2  # for the last cancels; nobody wants the requests of a lane that is closed
_LANE_QUEUE = 16  # messages that libzmq may hold for the lane of a stream
_MESSAGES_A_TURN = 64  # of one lane, so that a long answer does not delay the others

Verb = Callable[[steps.ClientRequest, float], "list[steps.Step] | None"]


class ClientLoop(threading.Thread):
    """The client's thread: it calls the methods of the listeners (`listeners`).

    No error ends it. An error of a socket fails the call of that socket, and an error of a listener
    is logged. If the thread ends by a bug all the same, it fails all calls, and later calls raise.
    """

    def __init__(self, broker: str, settings: ClientSettings) -> None:
        """Raises `MDPError` if libzmq refuses the address, or no socket can be opened."""
        super().__init__(name=f"mdp client of {broker}", daemon=True)
        self._pid = os.getpid()
        self._broker = broker
        self._follows = broker.startswith("@")  # a contact file
        if self._follows:
            addresses.contact_path(broker)
        self._target = None if self._follows else _target_of(locate(broker))
        self._heartbeats = settings.heartbeats
        self._lanes = _lanes(settings, partial(locate, broker) if self._follows else None)
        require_descriptors()
        self._context = new_context(max_sockets=2 * self._lanes.sockets + 64)
        try:
            if not self._follows:
                self._dealer(self._lanes.new_name()).close()  # libzmq may refuse the address
            self._wakeup = Wakeup()
        except OSError as error:
            self._context.term()
            raise no_descriptors(error) from None
        except MDPError:
            self._context.term()
            raise
        self._poll = Poll(self._wakeup)
        self._inbox: deque[tuple[Verb, steps.ClientRequest]] = deque()
        self._calls: set[steps.ClientRequest] = set()  # not over yet
        self._closing = False
        self._bug: Exception | None = None
        self._lock = threading.Lock()  # nothing is put into the inbox after `_closing` is set
        self._dealers: dict[bytes, Dealer] = {}
        self._names: dict[Any, bytes] = {}  # by handle
        self._paused: set[bytes] = set()  # lanes that are not read, because their reader lags

    # Called by other threads.

    def tell_progress(self, frame: bytes) -> None:
        self._lanes.tell_progress(frame)

    @property
    def address(self) -> str | None:
        """The broker's address; None if its contact file has not been read yet."""
        return self._target_now().endpoint if self._target or self._lanes.place else None

    def check_usable(self, service: str) -> None:
        """Raise `ClientClosed` if no request can be sent."""
        if self.is_of_another_process:
            raise ClientClosed(
                f"this Client was made in another process (pid {self._pid}): make one in each"
                " process"
            )
        if self._bug is not None:
            raise ClientClosed(self._why_ended()) from self._bug
        if self._closing or not self.is_alive():
            raise ClientClosed(f"the client was closed before the request to {service}")

    @property
    def is_of_another_process(self) -> bool:
        """True after a fork, in the child: the thread does not exist there."""
        return os.getpid() != self._pid

    def submit(self, call: steps.ClientRequest) -> None:
        """Start a call. Raises `ClientClosed` if the client is closed."""
        if not self._post(self._lanes.submit, call):
            self.check_usable(call.text)

    def abandon(self, call: steps.ClientRequest) -> None:
        call.is_unwanted = True
        self._post(self._lanes.abandon, call)

    def resume(self, call: steps.ClientRequest) -> None:
        """Read the call's lane again: its reader has caught up."""
        self._post(self._resume, call)

    def close(self) -> None:
        """Give up the calls in flight, and end the thread."""
        if self.is_of_another_process:
            return
        with self._lock:
            self._closing = True
        self._wakeup.wake()
        if threading.current_thread() is not self:
            self.join()

    def end_soon(self) -> None:
        """Have the thread end, and do not wait. For a client to which no reference is left.

        The garbage collector may call this at any point of any thread, so it takes no lock.
        """
        self._closing = True
        self._wakeup.wake()

    def discard(self) -> None:
        """Free the sockets of a thread that was not started."""
        self._context.term()
        self._wakeup.close()

    def _post(self, verb: Verb, call: steps.ClientRequest) -> bool:
        if self.is_of_another_process:
            return False  # and the lock may be held for ever, by a thread that was not copied
        with self._lock:
            if self._closing:
                return False
            self._inbox.append((verb, call))
        self._wakeup.wake()
        return True

    # The thread.

    def run(self) -> None:
        try:
            while not self._closing:
                self._turn()
            self._take_inbox()  # `close` fails the calls that came last, too
            self._carry_out(self._lanes.close())
        except Exception as error:  # a bug: nobody shall wait for an answer for ever
            log.exception("a bug ended the thread of this client, and fails all its requests")
            self._bug = error
        finally:
            self._end()

    def _end(self) -> None:
        with self._lock:
            self._closing = True
        self._fail_all()
        for dealer in self._dealers.values():
            dealer.close()
        self._context.term()
        self._wakeup.close()

    def _fail_all(self) -> None:
        """Fail the calls that are not over: there are some only after a bug."""
        waiting = [call for verb, call in self._inbox if verb == self._lanes.submit]
        for call in (*self._calls, *waiting):
            self._deliver(call, call.listener.on_failed, ClientClosed(self._why_ended()))
        self._inbox.clear()
        self._calls.clear()

    def _why_ended(self) -> str:
        error = self._bug
        return f"the thread of this client ended by a bug: {type(error).__name__}: {error}"

    def _turn(self) -> None:
        ready = self._poll.wait(self._lanes.deadline())
        self._wakeup.clear()
        self._take_inbox()
        for handle in ready:
            if handle in self._names:
                self._receive(self._names[handle])
        self._carry_out(self._lanes.tick(clock()))

    def _take_inbox(self) -> None:
        while self._inbox:
            verb, call = self._inbox.popleft()
            if verb == self._lanes.submit:
                if call.is_unwanted:
                    continue
                self._calls.add(call)
            elif verb == self._lanes.abandon:
                self._calls.discard(call)
            self._carry_out(verb(call, clock()) or ())

    def _receive(self, name: bytes) -> None:
        for _ in range(_MESSAGES_A_TURN):
            if name not in self._dealers or name in self._paused:
                return  # an answer may close the lane
            try:
                frames = self._dealers[name].receive()
            except MDPError as error:
                self._carry_out(self._lanes.lane_failed(name, error, clock()))
                return
            if frames is None:
                return
            self._carry_out(self._lanes.receive(name, frames, clock()))

    def _carry_out(self, todo: Iterable[steps.Step]) -> None:
        waiting = deque(todo)
        while waiting:
            step = waiting.popleft()
            try:
                self._do(step)
            except MDPError as error:  # only a socket raises it, in OpenLane and SendOnLane
                assert isinstance(step, (steps.OpenLane, steps.SendOnLane))
                waiting += self._lanes.lane_failed(step.lane, error, clock())

    def _do(self, step: steps.Step) -> None:
        match step:
            case steps.SendOnLane(name, frames):
                if name in self._dealers:  # else it could not be opened
                    self._dealers[name].send(frames)
            case steps.PartialReply(call, body):
                self._deliver(call, lambda body: call.listener.on_part(as_bytes(body)), body)
                if call.listener.is_full:
                    self._pause(call)
            case steps.FinalReply(call, body):
                self._calls.discard(call)
                self._deliver(call, lambda body: call.listener.on_done(as_bytes(body)), body)
            case steps.Failed(call, error):
                self._calls.discard(call)
                self._deliver(call, call.listener.on_failed, error)
            case steps.OpenLane(name):
                self._open(name)
            case steps.CloseLane(name):
                self._close(name)
            case steps.Silent(silent_s, reason):
                self._say_silent(silent_s, reason)
            case steps.Paused(service, by, for_s, ends):
                _say_paused(service, by, for_s, ends=ends)
            case steps.Met(user, host):
                self._check_user(user, host)

    def _deliver(
        self, call: steps.ClientRequest, listener: Callable[[Any], object], message: Any
    ) -> None:
        """Call the listener: code of the user may run in it, which may raise anything."""
        try:
            listener(message)
        except BaseException as error:
            log.exception("the answer of %s could not be delivered", call.text)
            text = f"the answer of {call.text} could not be delivered: {error!r}"
            with contextlib.suppress(BaseException):
                call.listener.on_failed(MDPError(text))

    def _pause(self, call: steps.ClientRequest) -> None:
        if call.lane is None or call.lane not in self._dealers:
            return
        self._paused.add(call.lane)
        self._poll.drop(self._dealers[call.lane].handle())
        self._lanes.pause(call, clock())

    def _resume(self, call: steps.ClientRequest, now: float) -> None:
        if call.lane in self._paused:
            self._paused.remove(call.lane)
            self._poll.add(self._dealers[call.lane].handle())
            self._lanes.resume(call, now)

    def _open(self, name: bytes) -> None:
        dealer = self._dealers[name] = self._dealer(name)
        self._names[dealer.handle()] = name
        self._poll.add(dealer.handle())

    def _dealer(self, name: bytes) -> Dealer:
        call = self._lanes.in_flight.get(name)
        return Dealer(
            self._context,
            self._target_now(),
            name=name,
            linger_s=_LINGER_S if name == self._lanes.probe_lane else 0.0,
            heartbeats=self._heartbeats,
            max_unread=_LANE_QUEUE if call is not None and call.streams else None,
            reconnects=call is None or not call.is_checking,
        )

    def _target_now(self) -> Target:
        place = self._lanes.place
        if place is not None and (self._target is None or not _is_at(self._target, place)):
            self._target = _target_of(place)
        assert self._target is not None  # the core has the place before it opens a lane
        return self._target

    def _say_silent(self, silent_s: float, reason: str) -> None:
        """Log why the broker does not answer; a thread of its own finds out, because it blocks."""
        to = self._target_now() if self._target or self._lanes.place else None

        def say() -> None:
            self._lanes.why_silent = _say_silent(self._broker, to, silent_s, reason)

        threading.Thread(target=say, name="mdp why", daemon=True).start()

    def why_silent(self) -> str:
        """Return why no broker answers, and what to type. It tries to connect, for 2 s at most."""
        to = self._target_now() if self._target or self._lanes.place else None
        return _why_silent(self._broker, to, "")

    def _check_user(self, user: str, host: str) -> None:
        """Warn of a broker of another user at a loopback address: its port was not free, say."""
        if self._follows or not addresses.parse(self._broker).is_local:
            return
        if user not in ("", user_name()):
            log.warning(_OTHER_USER, self._broker, user, host, user_name())

    def _close(self, name: bytes) -> None:
        dealer = self._dealers.pop(name, None)
        if dealer is None:
            return  # the socket could not be opened
        del self._names[dealer.handle()]
        self._paused.discard(name)
        self._poll.drop(dealer.handle())
        dealer.close()


def _target_of(place: Place) -> Target:
    return target(place.address, place.keys)


def _is_at(to: Target, place: Place) -> bool:
    return to.endpoint == place.address and to.keys == place.keys


_OTHER_USER = (
    "the broker at %s was started by %s on %s, and you are %s: your requests go to that broker;"
    " for a broker of your own, `mdp broker --bind tcp://127.0.0.1:PORT` with another port, or"
    " `mdp broker --contact FILE` and --broker @FILE"
)


def _say_paused(service: str, by: str, for_s: float, *, ends: bool) -> None:
    """Log who has paused a service and since when, or that it goes on."""
    if ends:
        log.warning("%s is not paused any more", service)
        return
    since = timestamp(unix_time() - for_s)
    line = "%s is paused by %s since %s: its requests wait, and their time stands still"
    log.warning(line, service, by or "somebody", since)


def _say_silent(broker: str, to: Target | None, silent_s: float, reason: str) -> str:
    address = None if to is None else to.endpoint
    why = _why_silent(broker, to, reason)
    shown = addresses.shown(broker, address)
    log.warning("waiting for the broker at %s, %.0f s: %s", shown, silent_s, why)
    return why


def _why_silent(broker: str, to: Target | None, reason: str) -> str:
    """Return the reason with a hint. It blocks for seconds without a reason of the core's."""
    if not reason and to is not None:
        try:
            reason = why_unreachable(to.endpoint, to.keys)
        except Exception as error:  # only a hint: it must not end in a trace of a thread
            reason = str(error)
    return addresses.with_hint(reason, broker) if reason else addresses.how_to_serve(broker)


def _lanes(settings: ClientSettings, locate: Callable[[], Place] | None) -> lane.Lanes:
    """Make the core, for as many sockets as the limit of open files allows."""
    with contextlib.suppress(OSError, ValueError):
        raise_file_limit()
    client = os.urandom(CLIENT_ID_BYTES)

    def new_name() -> bytes:
        return lane_name(client, os.urandom(CLIENT_ID_BYTES), interactive=settings.interactive)

    free = free_descriptors() - CONTEXT_DESCRIPTORS
    free -= min(_SPARE_DESCRIPTORS, free // 4)
    wanted = lane.sockets_for(settings.lanes)
    sockets = max(2, min(wanted, free // _DESCRIPTORS))
    lanes = lane.Lanes(
        settings,
        new_name,
        random=random.random,
        sockets=sockets,
        locate=locate,
        who=who_frame(host_name(), os.getpid(), user_name()),
    )
    if lanes.most_in_flight < settings.lanes:
        log.warning(
            "at most %d requests are in flight at a time instead of %d: this process may open %d"
            " files (`ulimit -n`), of which %d are free",
            lanes.most_in_flight,
            settings.lanes,
            descriptor_limit(),
            max(0, free_descriptors()),
        )
    return lanes
