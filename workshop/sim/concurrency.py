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

PATIENCE = 60
"""Looks after which a thread that neither waits for the service nor came back is taken to be stuck. Looks, not seconds: on a
busy machine they take longer, as the thread does."""
LOOK_S = 0.01
"""Wall time of a look."""
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


def _next(posts: queue.SimpleQueue, looks: int = PATIENCE) -> tuple | None:
    """The next post, None where none comes."""
    for _ in range(looks):
        try:
            return posts.get(timeout=LOOK_S)
        except queue.Empty:
            continue
    return None


class _Stop(BaseException):
    """Ends a call that nobody waits for any more."""


class _Call:
    """One call through the breaker, in a thread of the crew. It posts what happens to it to `posts`."""

    def __init__(self, number: int, posts: "queue.SimpleQueue[tuple]", work: Callable[["_Call"], Any]) -> None:
        self.number, self.posts, self.work = number, posts, work
        self.turn: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.result: Any = None
        self.error: BaseException | None = None
        self.met: BaseException | None = None
        self.is_done = False
        self.before_done: Callable[[], None] = lambda: None

    def run(self) -> None:
        """Makes the call."""
        try:
            self.result = self.work(self)
        except BaseException as error:  # whatever a learner's code raises is what the caller gets
            self.error = error
        sys.settrace(None)
        self.is_done = True
        self.before_done()
        self.posts.put(("done", self))

    def service(self, *args: Any) -> Any:
        """What the breaker calls: waits for the answer of the service."""
        tracer = sys.gettrace()
        sys.settrace(None)
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


class _Crew:
    """Threads that take calls; one that is done takes the next, since starting a thread costs more than a call."""

    def __init__(self) -> None:
        self._idle: list[queue.SimpleQueue] = []
        self._over = False

    def start(self, call: _Call) -> None:
        """Runs the call in a thread of its own."""
        if self._idle:
            self._idle.pop().put(call)
            return
        inbox: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        inbox.put(call)
        threading.Thread(target=self._work, args=(inbox,), daemon=True).start()

    def _work(self, inbox: queue.SimpleQueue) -> None:
        while (call := inbox.get()) is not None:
            # Idle before it posts that it is done: who reads the post may hand over the next call.
            call.before_done = lambda: self._idle.append(inbox)
            call.run()
            if self._over:
                return

    def dismiss(self) -> None:
        """Ends the threads: those that have nothing to do now, the others as soon as they are done."""
        self._over = True
        while self._idle:
            self._idle.pop().put(None)


def _name(error: Any) -> str:
    """What a fallback was given: the kit's name of the error, where it is one of that kind, else its type's."""
    known = (CircuitOpen, *(kind for kind, _ in ERRORS.values()))
    return next((k.__name__ for k in known if isinstance(error, k)), type(error).__name__)


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
    crew = _Crew()
    outcomes: list[Any] = [None] * len(at_s)
    states: list[list[Any]] = []
    under_way: list[tuple[float, int, _Call, list[Any]]] = []
    stuck = None

    def wait_for(call: _Call) -> bool:
        """Serves posts until `call` waits for the service or is done; False when nothing comes."""
        while post := _next(posts):
            what, who, *rest = post
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
        return False

    def note() -> None:
        try:
            state = str(getattr(breaker, "state", ""))[:20]
        except Exception:  # it is for a picture: a learner's property that breaks must not stop the replay
            state = ""
        if state and (not states or states[-1][1] != state):
            states.append([clock(), state])

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
            posts.put(("falls back", call, _name(error)))
            return call.turn.get()

        return breaker.call(call.service, callers[i], i, fallback=fallback)

    call = None
    try:
        for i, now_s in enumerate(at_s):
            moved = come_back(now_s)
            if moved:
                clock.advance_to(max(now_s, clock()))
                call = _Call(i, posts, work)
                crew.start(call)
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
        crew.dismiss()
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
    of each that gets through, and gives the value that it comes back with. order: None, all threads go in step to the
    end; a number, each halts at an instruction of its own, spread over the way by that number, and goes on when the
    others have gone as far as they can: wherever there is a gap, somebody halts in it.

    Returns a dict: outcomes by call (see `replay_calls`), together: how many got through before the first came back, and
    stuck: whether nothing moved any more.
    """
    posts: queue.SimpleQueue[tuple] = queue.SimpleQueue()
    chance = random.Random(order or 0)
    apart = chance.uniform(2.5, 6.5)
    halts_after = [round(apart * k + chance.uniform(1, apart)) for k in range(len(nonces))]
    chance.shuffle(halts_after)
    steps = [0] * len(nonces)
    ready: deque[_Call] = deque()
    halted: list[_Call] = []
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
    crew = _Crew()
    for call in calls:
        crew.start(call)
    done = together = 0
    returned = stuck = False
    blocked: set[_Call] = set()

    def handle(what: str, who: _Call) -> None:
        nonlocal done, together
        blocked.discard(who)
        if what == "stops":
            steps[who.number] += 1
            halts = order is not None and steps[who.number] == halts_after[who.number]
            (halted if halts else ready).append(who)
        elif what == "asks":
            waiting.append((who, ask(nonces[who.number])))
            together += not returned
        else:
            done += 1

    def soon() -> tuple | None:
        try:
            return posts.get(timeout=BLOCKED_S)
        except queue.Empty:
            return None

    def move(call: _Call) -> None:
        """Gives `call` the turn for an instruction; others may report meanwhile that they have their lock."""
        call.turn.put("go")
        while post := soon():
            handle(*post)
            if post[1] is call:
                return
        blocked.add(call)

    for _ in calls:  # all to the start line
        if post := _next(posts):
            handle(*post)
    try:
        while done < len(calls):
            if ready:
                move(ready.popleft())
            elif halted:  # the furthest first, so that those at the beginning meet what it has changed
                call = max(halted, key=lambda c: steps[c.number])
                halted.remove(call)
                ready.append(call)
            elif blocked and (post := _next(posts, looks=4)):
                handle(*post)
            elif waiting:  # nothing else can move: the first that got through comes back
                returned = True
                call, value = waiting.popleft()
                blocked.add(call)
                call.turn.put(("ok", value))
            elif post := _next(posts):
                handle(*post)
            else:
                stuck = True
                break
    finally:
        for call in calls:
            call.turn.put(None)
        crew.dismiss()
    return {"outcomes": [_outcome(c) if c.is_done else None for c in calls], "together": together, "stuck": stuck}
