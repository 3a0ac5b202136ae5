# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python block in the middle of the separator: it hands windows to a worker thread and gives the results in order."""

import threading
import time
from collections import deque
from queue import SimpleQueue

import numpy as np
import pmt
from gnuradio import gr

from .failure import Failure
from .window_job import SOI_AND_INTERFERENCE, Job, SymbolGrid
from .window_stats import WindowStats

WINDOW_TAG, WINDOW_SAMPLES = "window_tag", "window_samples"
UNSEPARATED, SOURCE = pmt.intern("unseparated"), pmt.intern("separator")
OVERLOAD, UNUSABLE = pmt.PMT_T, pmt.intern("unusable")  # why
JOB_SAMPLES = 81920  # of one job, at most: 32 windows of 2560
LARGER = 4  # jobs, where the engine has a short way (alpha_rgs.streaming.direct)
STEP = 16  # windows of which such jobs are multiples: each size has tables of its own
BUFFER_SAMPLES = 2**18  # of each output's buffer, at least; 2 MB
WAITING_SAMPLES = 2**22  # for a separation that resamples: 32 MB
HELD_SAMPLES = 2**25  # in the block, at most, where windows pass by a busy engine; then it blocks after all
WAIT = 0.01  # s that a call waits for a result before it looks at its inputs again


class window_worker(gr.basic_block):
    """In 0: windows of complex samples. Out: one per port (window_job.Port; left out: SOI, interference, and symbols where
    samples_per_symbol > 0), windows of as many samples, or symbols.

    make_task() is called in the worker's thread, once per start; its `submit(windows, start)` gives a Future of an object
    from which the ports, and make_stats (window_stats), take what they need; see alpha_rgs.streaming.task. ends: windows with
    which the stream ends are submitted with ends=True; see alpha_rgs.streaming.live.
    One window out for each in, in order, with its tags. What fails, in whatever thread, ends the flowgraph: see `error`.
    """

    def __init__(self, make_task, window, hop, samples_per_symbol=0, on_overload="wait", name="separator", ports=None,
                 make_stats=WindowStats, ends=False):
        self.ports = SOI_AND_INTERFERENCE[: 3 if samples_per_symbol else 2] if ports is None else tuple(ports)
        self.make_task, self.window, self.hop, self.sps = make_task, window, hop, samples_per_symbol
        shapes = [_items(self.shape(number)[0]) for number in range(len(self.ports))]
        gr.basic_block.__init__(self, name, [_items(window)], shapes)
        self.ends, self.passes = ends, on_overload == "pass"
        self.batch = max(1, JOB_SAMPLES // window)
        self.capacity = (2 if self.passes else 4) * self.batch
        self.step = 1
        if ends:  # windows are long here, and short where they are separated
            self.capacity = max(self.capacity, min(32, WAITING_SAMPLES // window))
        self.set_tag_propagation_policy(gr.TPP_DONT)
        self.message_port_register_out(pmt.intern("stats"))
        for port in range(len(shapes)):
            self.set_min_output_buffer(port, max(2, BUFFER_SAMPLES // window))
        self.make_stats = make_stats
        self._failure, self.stats, self._thread = None, make_stats(hop), None
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
        self._todo, self._held, self._waiting, self._last = SimpleQueue(), deque(), 0, None
        self._stopping, self.task, self.grid = False, None, SymbolGrid(self.sps, 0.0)

    # ---- what the scheduler calls -------------------------------------------------------------
    def start(self):
        """Load what the separation needs, in the worker's thread; an error ends the flowgraph at its first call."""
        try:
            self._reset()
            self._failure, self.stats = None, self.make_stats(self.hop)
            ready = threading.Event()
            thread = threading.Thread(target=self._serve, args=(ready,), name="scoresep worker", daemon=True)
            thread.start()
            self._thread = thread
            ready.wait()
        except BaseException as error:  # whatever leaves this method or stop() would abort the program
            self._fail(error)
        return True

    def stop(self):
        """End the worker; windows still in its hands are dropped, as a stopped flowgraph's samples are."""
        try:
            self._stopping = True
            for job in self._held:
                job.cancel()
            self._todo.put(None)
            if (give_up := getattr(self.task, "give_up", None)) is not None:
                give_up()  # lest the engine goes on for minutes, and the worker waits for room in its queue
        except BaseException as error:
            self._fail(error)
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._held.clear()
        self.task = None
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
                            self._changed.wait(WAIT)
                    given = self._give(outputs)
                if self.stats.due(idle=not self._held and not taken):
                    self.message_port_pub(pmt.intern("stats"), pmt.to_pmt(self.stats.message(len(self._held))))
        except BaseException as error:  # whatever leaves this method would hang the flowgraph, SystemExit too
            self._fail(error)
        if self._failure is not None:
            self.message_port_pub(pmt.intern("stats"), pmt.to_pmt(self.stats.message(0, self._failure.error)))
            return gr.WORK_DONE
        self.consume(0, taken)
        return given

    # ---- in ----------------------------------------------------------------------------------
    def _accept(self, windows):
        """Make jobs of the windows that have come; how many were taken."""
        taken, first = 0, self.nitems_read(0)
        if len(windows) == 0:
            return 0
        tags = {}
        for tag in self.get_tags_in_window(0, 0, len(windows)):
            tags.setdefault(tag.offset - first, []).append(tag)
        while taken < len(windows):
            room = self.capacity - self._waiting
            held = sum(len(job.windows) for job in self._held) * self.window if self.passes else 0
            if room <= 0 and (not self.passes or held > HELD_SAMPLES):
                break
            count = min(self.batch, len(windows) - taken, room if room > 0 else self.batch)
            if self.step > 1 and self._held:  # busy: what does not fill a step waits for more
                count -= count % self.step
                if not count:
                    break
            rows = range(taken, taken + count)
            partial = next((k for k in rows if any(pmt.eqv(t.key, pmt.intern(WINDOW_SAMPLES)) for t in tags.get(k, ()))), None)
            if partial is not None:  # the last window of the stream goes by itself
                count = max(1, partial - taken)
            job = Job(first + taken, windows[taken : taken + count].copy(), time.monotonic(), self.hop)
            job.tags = [(k - taken, tag) for k in range(taken, taken + count) for tag in tags.get(k, ())]
            if partial == taken:
                job.make_partial(self._last, _samples(tags[partial]), self.task)
                job.ends = self.ends
            job.passed = room <= 0
            self._last = job.windows[-1]
            self._held.append(job)
            if job.passed:
                job.unseparated = [(k, OVERLOAD) for k in range(count)]
            else:
                self._mark_unusable(job)
                self._waiting += count
                self._todo.put(job)
            taken += count
        self.stats.came(taken)
        return taken

    def _mark_unusable(self, job):
        """Say of windows that the engine cannot separate for a sample in them, where they leave, and once in the log."""
        found = job.unusable()
        if found and not self.stats.unusable:
            self.logger.warn(f"{self.alias()}: sample {found[0][1]} of the stream is NaN, infinite or beyond all others; windows "
                             "that hold such samples are not separated, and tagged")
        self.stats.unusable += len(found)
        job.unseparated = [(row, UNUSABLE) for row, _ in found]

    # ---- out ---------------------------------------------------------------------------------
    def _give(self, outputs):
        """Copy finished windows and their tags to the outputs; how many."""
        given, room = 0, len(outputs[0])
        while self._held and given < room and self._held[0].done():
            job = self._held[0]
            if job.results is None:
                self._waiting -= 0 if job.passed else len(job.windows)
                job.finish(self.ports, self.grid)
                self.stats.left(job, self.task)
            rows = slice(job.given, job.given + room - given)
            for out, result in zip(outputs, job.results):
                some = result[rows]
                out[given : given + len(some)] = some
            for row, tag in job.tags:
                if rows.start <= row < rows.stop:
                    self._emit(job, job.first + row, tag)
            for row, why in job.unseparated:
                if rows.start <= row < rows.stop:
                    for number in range(len(self.ports)):
                        self.add_item_tag(number, job.first + row, UNSEPARATED, why, SOURCE)
            job.given += len(some)
            given += len(some)
            if job.given == len(job.windows):
                self._held.popleft()
        return given

    def _emit(self, job, index, tag):
        """Put a window's tag on the same window of each output, in the terms of that output."""
        for number, port in enumerate(self.ports):
            value = tag.value
            if port.symbols and pmt.eqv(tag.key, pmt.intern(WINDOW_SAMPLES)):
                value = pmt.from_uint64(self.grid.count(job.start, job.start + job.valid))
            elif port.symbols and pmt.eqv(tag.key, pmt.intern(WINDOW_TAG)):
                offset = self.grid.index(pmt.to_uint64(pmt.tuple_ref(value, 0)))
                value = pmt.make_tuple(pmt.from_uint64(offset), *(pmt.tuple_ref(value, k) for k in (1, 2, 3)))
            self.add_item_tag(number, index, tag.key, value, tag.srcid)

    # ---- the worker's thread -------------------------------------------------------------------
    def _serve(self, ready):
        try:
            self.task = self.make_task()
            if getattr(self.task, "direct", None) is not None:  # so fast that the cost of a job is felt
                self.batch, self.capacity, self.step = LARGER * self.batch, LARGER * self.capacity, STEP
            self.grid = SymbolGrid(self.sps, _timing(self.task))
            ready.set()
            while not self._stopping and (job := self._todo.get()) is not None:
                job.submit(self.task, self._notify)
        except BaseException as error:  # this thread must not end in silence: the flowgraph would wait for it
            if not self._stopping:
                self._fail(error)
        finally:
            ready.set()

    def _notify(self, _):
        with self._changed:
            self._changed.notify_all()

    def _fail(self, error):
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
    value = next(t.value for t in tags if pmt.eqv(t.key, pmt.intern(WINDOW_SAMPLES)))
    return int(pmt.to_python(value))


def _timing(task):
    timing = getattr(getattr(task, "soi", None), "timing", None)
    return 0.0 if timing is None else float(timing)
