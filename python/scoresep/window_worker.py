# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python block in the middle of the separator: it hands windows to a worker thread and gives the results in order."""

import math
import threading
import time
from collections import deque

import numpy as np
import pmt
from gnuradio import gr

from .commands import Change, Commands, answer
from .commands import controls as checked_controls
from .failure import Failure
from .pacing import BUFFER_SAMPLES, PASS_LIMIT, Pace
from .receiver_tags import KEYS, ReceiverTags
from .window_job import SOI_AND_INTERFERENCE, Job
from .window_stats import WindowStats
from .window_tags import WINDOW_SAMPLES, WINDOW_TAG, add_tags, describe, gate
from .worker_thread import FAILED, Offer, Revert, WorkerThread

OVERLOAD, UNUSABLE, BYPASS = pmt.PMT_T, pmt.intern("unusable"), pmt.intern("bypass")  # why windows leave unseparated
HELD_SAMPLES = 2**25  # in the block, at most, where windows pass by a busy engine; then it blocks after all
WAIT, SHORT_WAIT = 0.01, 0.002  # s that a call waits for a result before it looks at its inputs again; with a limit of latency
BYPASS_WAIT = 0.25  # s that a bypass waits for windows that are being separated
REPORT = 1.0  # s from one report of overload to the next, at least


class window_worker(gr.basic_block):
    """In 0: windows of complex samples. Out: one per port (window_job.Port; left out: SOI, interference, and symbols where
    samples_per_symbol > 0), windows of as many samples, or symbols. Message in `command`, out `stats`, `response`: see commands.

    make_task() is called in the worker's thread, once per start; its `submit(windows, start)` gives a Future of an object
    from which the ports, and make_stats (window_stats), take what they need; see alpha_rgs.streaming.task. With change() and
    restore() the task can be another one while the flowgraph runs; see tasks.py. ends: windows with which the stream ends are
    submitted with ends=True; see alpha_rgs.streaming.live. controls: see commands.py. commands: a Commands. rate: Hz, 0: unknown.
    One window out for each in, in order, with its tags. What fails, in whatever thread, ends the flowgraph: see `error`.
    """

    def __init__(self, make_task, window, hop, samples_per_symbol=0, name="separator", ports=None, make_stats=WindowStats,
                 ends=False, commands=None, rate=0, **controls):
        self.ports = SOI_AND_INTERFERENCE[: 3 if samples_per_symbol else 2] if ports is None else tuple(ports)
        self.make_task, self.window, self.hop, self.sps = make_task, window, hop, samples_per_symbol
        shapes = [_items(self.shape(number)[0]) for number in range(len(self.ports))]
        gr.basic_block.__init__(self, name, [_items(window)], shapes)
        self.ends, self.rate, self.pair = ends, rate, ports is None or SOI_AND_INTERFERENCE[0] in self.ports
        self.controls, self.commands = checked_controls(name, **controls), commands or Commands(name)
        self.set_tag_propagation_policy(gr.TPP_DONT)
        self.message_port_register_in(pmt.intern("command"))
        self.set_msg_handler(pmt.intern("command"), self.take_command)
        self.msg_handlers.clear()  # the block would own itself; the handler is called by its name
        for port in "stats", "response":
            self.message_port_register_out(pmt.intern(port))
        for port in range(len(shapes)):
            self.set_min_output_buffer(port, max(2, BUFFER_SAMPLES // window))
        self.make_stats = make_stats
        self._failure, self.stats, self._worker, self._asked = None, make_stats(hop), None, deque()
        self._reset()

    def shape(self, number):
        """(window, hop) of a port, in its own items: samples or symbols."""
        scale = self.sps if self.ports[number].symbols else 1
        return self.window // scale, self.hop // scale

    @property
    def error(self):
        """The exception that ended the flowgraph, or None; whoever asks has seen it (failure.py)."""
        return None if self._failure is None else self._failure.see()

    def report(self):
        """How it goes, or went: the dictionary of stats.table()."""
        return self.stats.table(len(self._held), None if self._failure is None else self._failure.error)

    def _reset(self):
        self._changed = threading.Condition()
        self._held, self._waiting, self._inside, self._last, self._heard = deque(), 0, 0, None, 0
        self.pace = Pace(self.window, self.hop, self.controls["on_overload"] == "pass", self.controls["latency"], self.ends)
        self._receiver, self._events, self._reported = ReceiverTags(self.rate), deque(), [0.0, 0]

    # ---- what the scheduler calls -------------------------------------------------------------
    def start(self):
        """Load what the separation needs, in the worker's thread; an error ends the flowgraph at its first call."""
        try:
            self._reset()
            self._failure, self.stats = None, self.make_stats(self.hop)
            self._worker = WorkerThread(self.make_task, self.sps, self.pace, self)
            self._worker.start()
        except BaseException as error:  # whatever leaves this method or stop() would abort the program
            self.fail(error)
        return True

    def stop(self):
        """End the worker; windows still in its hands are dropped, as a stopped flowgraph's samples are."""
        worker, self._worker = self._worker, None
        try:
            for job in self._held:
                job.cancel()
            if worker is not None:
                worker.stop()
        except BaseException as error:
            self.fail(error)
        if worker is not None:
            worker.join()
        self._held.clear()
        return True

    def forecast(self, noutput_items, ninputs):
        """No input while there is something to give or to say, lest the scheduler takes the end of input for the end."""
        return [0 if self._held or self._failure is not None or self.stats.unsaid else 1] * ninputs

    def general_work(self, input_items, output_items):
        """Take what fits, give what is ready; wait a little, without the interpreter's lock, where neither is possible."""
        taken = given = 0
        try:  # of items of one sample GNU Radio makes arrays of one dimension
            inputs, outputs = ([v if v.ndim == 2 else v[:, None] for v in side] for side in (input_items, output_items))
            if self._failure is None:
                taken = self._accept(inputs[0])
                given = self._give(outputs)
                if not taken and not given:
                    with self._changed:
                        if self._failure is None and not (self._held and self._held[0].done()):
                            self._changed.wait(SHORT_WAIT if self.pace.latency else WAIT)
                    given = self._give(outputs)
                self._report(idle=not self._held and not taken)
        except BaseException as error:  # whatever leaves this method would hang the flowgraph, SystemExit too
            self.fail(error)
        if self._failure is not None:
            self.message_port_pub(pmt.intern("stats"), pmt.to_pmt(self.stats.message(0, self._failure.error)))
            return gr.WORK_DONE
        self.consume(0, taken)
        return given

    def _report(self, idle):
        """Send the stats where it is time; say once a second how many windows passed."""
        if self.stats.due(idle):
            self.stats.each, self.stats.interval = self.pace.each or np.nan, self.pace.interval
            self.message_port_pub(pmt.intern("stats"), pmt.to_pmt(self.stats.message(len(self._held))))
        when, before = self._reported
        if self.stats.overloads > before and (now := time.monotonic()) - when >= REPORT:
            limit = self.pace.limit or PASS_LIMIT
            each = "has not been measured yet" if self.pace.each is None else f"takes {self.pace.each:.3g} s"
            self.logger.warn(f"{self.alias()}: {self.stats.overloads - before} windows passed unseparated, which would have been "
                             f"later than {limit:g} s: one {each}, and the next comes after {self.pace.interval:.3g} s")
            self._reported = [now, self.stats.overloads]

    # ---- commands ------------------------------------------------------------------------------
    def ask(self, **changes):
        """As a message to `command`, from any thread; values may be priors too."""
        self._asked.append(changes)
        self.to_basic_block()._post(pmt.intern("command"), pmt.PMT_NIL)

    def take_command(self, message):
        """What has come to `command`. It holds from the next window on that is taken."""
        asked = None
        try:
            asked = self._asked.popleft() if pmt.is_null(message) and self._asked else self.commands.read(message)
            change = self.commands.change(asked, sample=self.nitems_read(0) * self.hop)
            if change.others is None:
                self.changed(change, False, [])
            elif self._worker is not None:
                self._worker.put(change)
        except Exception as error:
            self.refused(Change({}, asked=asked or {}), error)

    def begun(self, task):
        """The task is there."""
        if getattr(task, "quick", False):
            self.pace.quicken()

    def changed(self, change, other_task, warnings):
        """A Change holds; answer it. other_task: the separation is another one."""
        self.controls.update(change.controls)
        self.pace.latency, self.pace.passes = self.controls["latency"], self.controls["on_overload"] == "pass"
        if other_task:
            self.stats.forget()
        if change.others and change.others.get("samp_rate"):
            self.rate = self._receiver.rate = change.others["samp_rate"]
        for sentence in warnings:
            self.logger.warn(f"{self.alias()}: {sentence}")
        if change.asked is not None or warnings:
            self.message_port_pub(pmt.intern("response"), answer(change.asked, None, warnings))

    def refused(self, change, error):
        """A Change does not hold; answer it."""
        self.logger.error(f"{self.alias()}: {error}")
        self.message_port_pub(pmt.intern("response"), answer(change.asked, error))

    def failed(self, asked, error):
        """What a command asked for cannot be done, as was seen when it was tried: the separation before goes on."""
        self.refused(Change({}, asked=asked), f"{error}; the separation is the one before again")

    # ---- in ----------------------------------------------------------------------------------
    def _accept(self, windows):
        """Make jobs of the windows that have come; how many were taken."""
        first, available = self.nitems_read(0), len(windows)
        if available == 0:
            return 0
        self.pace.seen(first + available, time.monotonic())
        tags, taken = self._tags(first, available), 0
        while taken < available:
            count, why = self._next(first + taken, available - taken)
            if not count:
                break
            rows = range(taken, taken + count)
            partial = next((k for k in rows if any(pmt.eqv(t.key, WINDOW_SAMPLES) for t in tags.get(k, ()))), None)
            if partial is not None:  # the last window of the stream goes by itself
                count = max(1, partial - taken)
            job = Job(first + taken, windows[taken : taken + count].copy(), self.pace.came(first + taken), self.hop,
                      self._worker.grid)
            job.tags = [(k - taken, tag) for k in range(taken, taken + count) for tag in tags.get(k, ())]
            if partial == taken:
                job.make_partial(self._last, _samples(tags[partial]), self._worker.task)
                job.ends = self.ends
            self._last = job.windows[-1]
            self._send(job, why)
            taken += count
        self.stats.came(taken)
        return taken

    def _tags(self, first, available):
        """Tags of the windows that have come, by row; what the receiver says in new ones is kept for the windows it holds for."""
        tags, found = {}, []
        for tag in self.get_tags_in_window(0, 0, available):
            tags.setdefault(tag.offset - first, []).append(tag)
            if tag.offset >= self._heard and pmt.eqv(tag.key, WINDOW_TAG):
                key = pmt.symbol_to_string(pmt.tuple_ref(tag.value, 1))
                if key in KEYS:
                    found.append((pmt.to_uint64(pmt.tuple_ref(tag.value, 0)), key, pmt.tuple_ref(tag.value, 2)))
        self._heard = first + available
        if found:
            self._events.extend(self._receiver.events(found))
            while self._receiver.wrong:
                self.logger.warn(f"{self.alias()}: {self._receiver.wrong.pop()}")
        return tags

    def _next(self, index, available):
        """(how many windows of those that have come, the first of which has this number, make a job; why they pass, None: they
        are separated)."""
        start = index * self.hop
        while self._events and (self._events[0].sample <= start or not self._events[0].cuts):
            event = self._events.popleft()
            self._worker.put(Change({}, event=event, sample=event.sample))
        if self._events:
            cut = self._events[0].sample
            if start + self.window > cut:  # windows that hold both sides of it
                return self._room(min(available, -(-(cut - start) // self.hop))), pmt.intern(self._events[0].why)
            available = min(available, (cut - start - self.window) // self.hop + 1)
        if self.controls["bypass"]:
            return self._room(available), BYPASS
        if self.pace.passes and self._worker.searching(start):  # the stream goes on while the sources are looked for
            self.stats.locked = 0.0
            return self._room(available), OVERLOAD
        count, passed = self.pace.take(index, available, self._waiting, bool(self._held))
        return (self._room(count), OVERLOAD) if passed else (count, None)

    def _room(self, count):
        """As many windows, or 0 where the block holds too many that pass."""
        most = HELD_SAMPLES if self.pace.passes else self.pace.capacity * self.window
        return count if self._inside * self.window <= most else 0

    def _send(self, job, why):
        """Keep a job, for the worker or to pass."""
        count = len(job.windows)
        self._held.append(job)
        self._inside += count
        if why is not None:
            job.skip(why)
            self._count(why, count)
            if why is OVERLOAD and self._worker.searching(job.start):
                self._worker.put(Offer(job.windows, job.start + self.hop * np.arange(count)))
            return
        self._mark_unusable(job)
        job.waits, self._waiting = True, self._waiting + count
        job.late = job.came + self.pace.budget if self.pace.passes else math.inf
        self.pace.sent(count)
        self._worker.put(job)

    def _count(self, why, count):
        if why is OVERLOAD:
            self.stats.passes(count)
        elif why is BYPASS:
            self.stats.bypassed += count

    def _mark_unusable(self, job):
        """Say of windows that the engine cannot separate for a sample in them, where they leave, and once in the log."""
        found = job.unusable()
        if found and not self.stats.unusable:
            self.logger.warn(f"{self.alias()}: sample {found[0][1]} of the stream is NaN, infinite or beyond all others; windows "
                             "that hold such samples are not separated, and tagged")
        self.stats.unusable += len(found)
        job.unseparated = [(row, UNUSABLE, None) for row, _ in found]

    # ---- out ---------------------------------------------------------------------------------
    def _give(self, outputs):
        """Copy finished windows and their tags to the outputs; how many."""
        given, room = 0, len(outputs[0])
        while self._held and given < room and (self._held[0].done() or self._is_late(self._held[0])):
            job = self._held[0]
            if job.results is None:
                self._finish(job)
            rows = slice(job.given, job.given + room - given)
            for out, result in zip(outputs, job.results):
                some = result[rows]
                out[given : given + len(some)] = some
            add_tags(self, self.ports, job, rows)
            job.given += len(some)
            given += len(some)
            self._inside -= len(some)
            if job.given == len(job.windows):
                self._held.popleft()
        return given

    def _is_late(self, job):
        """Whether a job's windows can no longer wait for their separation; they pass then."""
        late, why = job.late, OVERLOAD
        if self.controls["bypass"] and job.came + BYPASS_WAIT < late:
            late, why = job.came + BYPASS_WAIT, BYPASS
        if time.monotonic() < late:
            return False
        job.skip(why)
        self._count(why, len(job.windows))
        return True

    def _finish(self, job):
        """Have what leaves, and what is said of it."""
        self._waiting -= len(job.windows) if job.waits else 0
        try:
            job.finish(self.ports)
        except Exception as error:
            if job.trial is None or job.trial.proven:
                raise
            job.skip(FAILED)
            job.finish(self.ports)
            self._worker.put(Revert(job.trial, error))
        if job.passed:
            self.stats.left(job, self.pace.fill)
            return
        if job.trial is not None:
            job.trial.proven = True
        self.stats.left(job, self.pace.fill)
        if (level := self.controls["gate_db"]) is not None:
            self.stats.gated += gate(job, self.ports, self.pair, level, self.controls["gate_action"])
        if self.controls["window_tags"]:
            describe(job, self.pair)

    # ---- the worker's thread -------------------------------------------------------------------
    def wake(self):
        """A job is done: look at it."""
        with self._changed:
            self._changed.notify_all()

    def fail(self, error):
        """Keep the first error, say it once, and wake the scheduler's thread to end the flowgraph."""
        with self._changed:
            if self._failure is None:
                self._failure = Failure(error)
                self.logger.error(f"{self.alias()}: {self._failure}")
            self._changed.notify_all()


def _items(count):
    """So many samples, as GNU Radio has the type of an item."""
    return np.complex64 if count == 1 else (np.complex64, count)


def _samples(tags):
    value = next(t.value for t in tags if pmt.eqv(t.key, WINDOW_SAMPLES))
    return int(pmt.to_python(value))
