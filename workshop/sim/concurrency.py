"""Many calls at once through one object of a learner's, so that the same code always meets the same interleaving.

The calls run in threads, of which one moves at a time. `replay_calls` hands over only where a call waits for the service:
calls overlap in virtual time as they would in a cluster. `rush` hands over at every bytecode instruction of the learner's
code, so that a gap between a check and what follows from it is found however small it is; a lock closes it.

What the service answers comes from `ask`, called in the calling thread: the drivers know nothing ahead of time.
"""

import heapq
import os
import queue
import random
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from workshop.sim.breaker import CircuitOpen
from workshop.sim.clock import VirtualClock
from workshop.sim.service import CLIENT_ERROR, SERVER_ERROR, TIMEOUT

PATIENCE_S = 3.0
"""Wall time after which a thread that neither waits for the service nor came back is taken to be stuck."""
BLOCKED_S = 0.004
"""Wall time after which a thread that was given the turn is taken to wait for a lock of the learner's."""

ERRORS = {
    SERVER_ERROR: (ConnectionError, "503: the service could not answer"),
    TIMEOUT: (TimeoutError, "504: no answer in time"),
    CLIENT_ERROR: (ValueError, "422: the request was wrong"),
}
"""What a call to the service raises, by error class."""

_KIT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_LIBRARY = os.path.dirname(os.path.abspath(os.__file__))


class _Stop(BaseException):
    """Ends a call that nobody waits for any more."""


class _Call(threading.Thread):
    """One call through the breaker, in a thread of its own. It posts what happens to it to `posts`."""

    def __init__(self, number: int, posts: "queue.SimpleQueue[tuple]", work: Callable[["_Call"], Any]) -> None:
        super().__init__(daemon=True)
        self.number, self.posts, self.work = number, posts, work
        self.turn: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.result: Any = None
        self.error: BaseException | None = None
        self.met: BaseException | None = None
        self.asked = 0

    def run(self) -> None:
        try:
            self.result = self.work(self)
        except BaseException as error:  # whatever a learner's code raises is what the caller gets
            self.error = error
        sys.settrace(None)
        self.posts.put(("done", self))

    def service(self, *args: Any) -> Any:
        """What the breaker calls: waits for the answer of the service."""
        tracer = sys.gettrace()
        sys.settrace(None)
        self.asked += 1
        self.posts.put(("asks", self))
        answer = self.turn.get()
        if answer is None:
            raise _Stop
        kind, value = answer
        sys.settrace(tracer)
        if kind == "ok":
            return value
        type_, text = ERRORS[kind]
        self.met = type_(text)
        raise self.met


def _outcome(call: _Call) -> list[Any]:
    """What the caller got: ["value", v], ["error", class] of the service's own error, or ["refused"].

    Anything else that was raised is a defect of the learner's code: it is raised again here.
    """
    error = call.error
    if error is None:
        return ["value", call.result]
    chain: BaseException | None = error
    while chain is not None:
        if chain is call.met:
            return ["error", type(error).__name__]
        chain = chain.__cause__ or chain.__context__
    if isinstance(error, CircuitOpen) or any(c.__name__ == "CircuitOpen" for c in type(error).__mro__):
        return ["refused"]
    raise error


def replay_calls(
    breaker: Any,
    clock: VirtualClock,
    at_s: Sequence[float],
    ask: Callable[[int], Sequence[Any]],
    callers: Sequence[Any],
    fall_back: Callable[[int, str], Any] | None = None,
    with_fallback: Sequence[bool] = (),
) -> dict[str, Any]:
    """Make the calls that are wanted at `at_s` (seconds, rising) through `breaker.call`, overlapping in virtual time.

    Call i is `breaker.call(fn, callers[i], i)`, with `fallback=` where `with_fallback[i]`. Where the breaker lets it
    through, `ask(i)` says [latency in seconds, "ok" or the error class, value]. `fall_back(i, name of the error)` gives
    the value that stands in.

    Returns a dict: outcomes, one for each call (see `_outcome`, None where it never came back); states, [seconds, state]
    as the breaker itself tells it, if it does; stuck, the number of the call at which nothing moved any more, or None.
    """
    posts: queue.SimpleQueue[tuple] = queue.SimpleQueue()
    outcomes: list[Any] = [None] * len(at_s)
    states: list[list[Any]] = []
    under_way: list[tuple[float, int, _Call, list[Any]]] = []
    stuck = None

    def wait_for(call: _Call) -> bool:
        """Serves posts until `call` waits for the service or is done; False when nothing comes."""
        while True:
            try:
                what, who, *rest = posts.get(timeout=PATIENCE_S)
            except queue.Empty:
                return False
            if what == "falls back":
                who.turn.put(fall_back(who.number, rest[0]))
                continue
            if what == "asks":
                latency_s, kind, value = ask(who.number)
                heapq.heappush(under_way, (clock() + latency_s, who.number, who, [kind, value]))
            else:
                outcomes[who.number] = _outcome(who)
            if who is call:
                return True

    def note() -> None:
        state = getattr(breaker, "state", None)
        if state is not None and (not states or states[-1][1] != str(state)):
            states.append([clock(), str(state)])

    def come_back(until_s: float) -> bool:
        while under_way and under_way[0][0] <= until_s:
            back_s, _, call, answer = heapq.heappop(under_way)
            clock.advance_to(max(back_s, clock()))
            call.turn.put(answer)
            if not wait_for(call):
                return False
            note()
        return True

    def work(call: _Call) -> Any:
        i = call.number
        if fall_back is None or not with_fallback[i]:
            return breaker.call(call.service, callers[i], i)

        def fallback(error: Any = None) -> Any:
            posts.put(("falls back", call, type(error).__name__))
            return call.turn.get()

        return breaker.call(call.service, callers[i], i, fallback=fallback)

    call = None
    try:
        for i, now_s in enumerate(at_s):
            moved = come_back(now_s)
            if moved:
                clock.advance_to(max(now_s, clock()))
                call = _Call(i, posts, work)
                call.start()
                moved = wait_for(call)
                note()
            if not moved:
                stuck = i
                break
        else:
            if not come_back(float("inf")):
                stuck = len(at_s) - 1
    finally:
        for _, _, waiting, _ in under_way:
            waiting.turn.put(None)
    return {"outcomes": outcomes, "states": states, "stuck": stuck}


def rush(
    breaker: Any,
    clock: VirtualClock,
    nonces: Sequence[Any],
    ask: Callable[[Any], Any],
    order: int | None = None,
) -> dict[str, Any]:
    """Make one call for each nonce at the same moment, in threads that take turns at every instruction.

    A call that gets through waits until no other can move, so that all of them meet the same state. `ask(nonce)` is told
    of each that gets through, and gives the value that it comes back with. order: None, all threads in step; a number,
    turns of random length drawn from it.

    Returns a dict: outcomes by call (see `replay_calls`), together: how many got through before the first came back, and
    stuck: whether nothing moved any more.
    """
    posts: queue.SimpleQueue[tuple] = queue.SimpleQueue()
    chance = random.Random(order)
    ready: deque[_Call] = deque()
    waiting: deque[tuple[_Call, Any]] = deque()

    def pause(call: _Call) -> None:
        posts.put(("stops", call))
        if call.turn.get() is None:
            raise _Stop

    def work(call: _Call) -> Any:
        def trace(frame: FrameType, event: str, _: Any) -> Any:
            if event == "call":
                file = frame.f_code.co_filename
                if file.startswith((_KIT, _LIBRARY, "<frozen")):
                    return None
                frame.f_trace_opcodes = True
                return trace
            if event in ("opcode", "line"):
                pause(call)
            return trace

        pause(call)
        sys.settrace(trace)
        return breaker.call(call.service, "rush", call.number)

    calls = [_Call(i, posts, work) for i in range(len(nonces))]
    for call in calls:
        call.start()
    done = together = 0
    returned = stuck = False
    blocked: set[_Call] = set()

    def handle(what: str, who: _Call) -> None:
        nonlocal done, together
        blocked.discard(who)
        if what == "stops":
            ready.append(who)
        elif what == "asks":
            waiting.append((who, ask(nonces[who.number])))
            together += not returned
        else:
            done += 1

    def receive(timeout_s: float) -> tuple | None:
        try:
            return posts.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def move(call: _Call, steps: int) -> None:
        """Gives `call` the turn for some instructions; others may report meanwhile that they have their lock."""
        call.turn.put("go")
        while post := receive(BLOCKED_S):
            what, who = post
            if who is not call:
                handle(what, who)
            elif what == "stops" and steps > 1:
                steps -= 1
                call.turn.put("go")
            else:
                return handle(what, who)
        return blocked.add(call)

    for _ in calls:  # all to the start line
        if post := receive(PATIENCE_S):
            handle(*post)
    try:
        while done < len(calls):
            if ready:
                if order is not None:
                    ready.rotate(-chance.randrange(len(ready)))
                move(ready.popleft(), 1 if order is None else chance.choice((1, 2, 5, 15, 60)))
            elif blocked and (post := receive(10 * BLOCKED_S)):
                handle(*post)
            elif waiting:  # nothing else can move: the first that got through comes back
                returned = True
                call, value = waiting.popleft()
                blocked.add(call)
                call.turn.put(("ok", value))
            elif post := receive(PATIENCE_S):
                handle(*post)
            else:
                stuck = True
                break
    finally:
        for call in calls:
            call.turn.put(None)
    return {"outcomes": [None if c.is_alive() else _outcome(c) for c in calls], "together": together, "stuck": stuck}
