# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands to a running separator: they hold from a window's edge on, no sample is lost, and what cannot be is answered."""

import inspect
from concurrent.futures import Future
from functools import partial
from types import SimpleNamespace

import numpy as np
import pmt
import pytest
from alpha_rgs import options
from flows import HOP, QPSK, WINDOW, Paced, answers, flow, later, ramp, wait_for
from gnuradio import blocks, gr, scoresep
from gnuradio.scoresep.commands import CHECKS, Commands

CONTEXT = (WINDOW - HOP) // 2


class Scaling:
    """Makes tasks whose SOI is the mixture times a level, which a command may change; 13 dB cannot be separated."""

    checks = {"sir_db": options.decibels}

    def __init__(self, pause=0.0):
        self.level, self.pause, self.made = 2.0, pause, 0

    def __call__(self):
        self.made += 1
        return SimpleNamespace(submit=self.submit_at(self.level))

    def submit_at(self, level):
        """A task's submit."""
        def submit(windows, start=0, block=True):
            windows = np.array(windows)
            if level == 13:
                raise ValueError("thirteen: cannot be separated")
            return later(self.pause, SimpleNamespace(soi=windows * level, interference=windows,
                                                     quality=np.where(windows[:, 0].real % 2048 < 1024, 20.0, 3.0)))
        return submit

    def change(self, changes, again=False, receiver=False):
        """See tasks.Tasks.change."""
        if changes.get("sir_db") == 12:
            raise ValueError("twelve: is not possible")
        before, self.level = self.level, changes.get("sir_db", self.level)
        return (self() if again or before != self.level else None), before, False

    def restore(self, level):
        """See tasks.Tasks.restore."""
        self.level = level
        return self()


def run(commands, windows=40, make=None, **controls):
    """A flowgraph that has run, and its samples. commands: number of the hop before which a command is given -> it, a dictionary
    or a message; the stream waits for each answer."""
    make, samples = make or Scaling(), ramp(windows * HOP + 77)

    def give(command, hop):
        def action():
            before = top.responses.num_messages()
            assert wait_for(lambda: top.worker.nitems_read(0) >= hop - 2)  # what came before has been taken
            if isinstance(command, dict):
                top.worker.ask(**command)
            else:
                top.worker.to_basic_block()._post(pmt.intern("command"), command)
            assert wait_for(lambda: top.responses.num_messages() > before)
        return action

    source = Paced(samples, actions={hop * HOP: give(command, hop) for hop, command in commands.items()})
    top = flow(source, make, sps=0, name="separator", commands=Commands("separator", Scaling.checks), **controls)
    top.make = make
    top.run()
    assert top.worker.error is None
    assert len(top.sinks[0].data()) == len(top.sinks[1].data()) == len(samples)
    return top, samples


def levels(top, samples):
    """What the SOI was multiplied by, and the samples where that changes."""
    level = np.real(np.array(top.sinks[0].data()) / samples).round(3)
    return level, np.flatnonzero(np.diff(level)) + 1


def marks(top, why):
    """Offsets of the tags that name a reason."""
    return [t.offset for t in top.sinks[0].tags() if pmt.eqv(t.value, pmt.intern(why))]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("form", [lambda key, value: {key: value},
                                  lambda key, value: pmt.cons(pmt.intern(key), pmt.to_pmt(value)),
                                  lambda key, value: pmt.dict_add(pmt.make_dict(), pmt.intern(key), pmt.to_pmt(value))])
@pytest.mark.parametrize("pause", [0.0, 0.01])
def test_a_command_holds_from_a_windows_edge_on(form, pause):
    """Whether it is a pair or a dictionary; every sample leaves once, separated one way or the other."""
    top, samples = run({10: form("sir_db", 5), 20: form("sir_db", 3.0)}, make=Scaling(pause))
    level, edges = levels(top, samples)
    assert set(level) == {2, 5, 3} and len(edges) == 2 and not (edges - CONTEXT).astype(int).__mod__(HOP).any()
    assert 8 * HOP <= edges[0] <= 12 * HOP and edges[1] <= 22 * HOP
    assert [(a["ok"], a["command"]) for a in answers(top.responses)] == [(True, {"sir_db": 5}), (True, {"sir_db": 3.0})]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("command, error", [
    ({"sird_b": 5}, "separator: sird_b: is no option here; there are latency, bypass"),
    ({"sir_db": "loud"}, "separator: sir_db: 'loud' must be a number of decibels"),
    ({"sir_db": 12}, "twelve: is not possible"),
    ({"latency": -1}, "separator: latency: -1 must be a number of seconds from 0 to 3600"),
    ({"bypass": "yes"}, "separator: bypass: 'yes' must be True or False"),
    ({"gate_db": 1e9}, "separator: gate_db: 1000000000.0 must be a number of decibels from -200 to 200"),
    ({"gate_action": "drop"}, "separator: gate_action: 'drop' must be 'mute' or 'pass'"),
    ({"on_overload": "drop"}, "separator: on_overload: 'drop' must be 'wait' or 'pass'"),
    ({"bypass": True, "sir_db": None, "bogus": 1}, "separator: bogus: is no option here"),
    ({"bypass": True, "sir_db": 12}, "twelve: is not possible"),
    (pmt.intern("bypass"), "separator: command: bypass must be a pair (key . value) or a dictionary"),
    (pmt.PMT_NIL, "separator: command: () must be a pair"),
    (pmt.cons(pmt.from_long(3), pmt.PMT_T), "separator: command: 3 must be a key, a symbol")])
def test_what_cannot_be_is_answered_once_and_changes_nothing(command, error):
    """An unknown key, a value out of range, no command at all; of several keys all hold or none."""
    top, samples = run({5: command})
    answer, = answers(top.responses)
    assert not answer["ok"] and answer["error"].startswith(error)
    assert np.array_equal(top.sinks[0].data(), samples * 2) and top.make.made == 1
    assert top.worker.report()["bypassed"] == 0


@pytest.mark.timeout(60)
def test_a_method_that_fails_when_it_is_tried_is_taken_back():
    """Its windows pass, tagged; a second answer says why; the separation before goes on."""
    top, samples = run({5: {"sir_db": 13}, 30: {"reacquire": True}})
    level, _ = levels(top, samples)
    assert set(level) == {2, 1} and level[-1] == 2 and len(marks(top, "error")) >= 1
    first, second, third = answers(top.responses)
    assert first["ok"] and not second["ok"] and third["ok"] and first["command"] == second["command"] == {"sir_db": 13}
    assert second["error"].startswith("thirteen: cannot be separated")


@pytest.mark.timeout(60)
def test_a_bypass_passes_windows_and_ends():
    """Tagged and counted, not as overload."""
    top, samples = run({10: {"bypass": True}, 20: {"bypass": False}})
    level, edges = levels(top, samples)
    stats = top.worker.report()
    assert level[0] == level[-1] == 2 and (level == 1).sum() == HOP * stats["bypassed"] > 0 == stats["overloads"]
    assert len(marks(top, "bypass")) == stats["bypassed"] and len(edges) == 2


@pytest.mark.timeout(60)
@pytest.mark.parametrize("action, gated", [("mute", 0), ("pass", 1)])
def test_a_gate_mutes_or_passes_what_is_of_low_quality(action, gated):
    """Windows of 3 dB among such of 20; the gate opens at 10 dB."""
    top, samples = run({20: {"gate_db": 1.0}}, gate_db=10.0, gate_action=action)
    level, _ = levels(top, samples)
    stats = top.worker.report()
    assert set(level) == {2, gated} and level[-1] == 2 and stats["gated"] == len(marks(top, "gated")) > 3
    assert {int((t.offset - CONTEXT) % HOP) for t in top.sinks[0].tags() if t.offset} <= {0}


@pytest.mark.timeout(60)
def test_tags_say_how_each_window_went():
    """Where they are asked for: one for each window and output, from its first sample on."""
    top, _ = run({30: {"window_tags": False}}, window_tags=True)
    told = [t for t in top.sinks[0].tags() if pmt.eqv(t.key, pmt.intern("separation"))]
    values = [pmt.to_python(t.value) for t in told]
    assert 25 <= len(told) <= 32 and told[0].offset == 0 and told[1].offset == CONTEXT + HOP
    assert {value["quality"] for value in values} == {20.0, 3.0} and all(value["lock"] == "known" for value in values)
    assert all(value["sir_db"] == pytest.approx(20 * np.log10(2)) for value in values)
    assert top.worker.report()["windows"] == 40 and not run({})[0].sinks[0].tags()


@pytest.mark.timeout(60)
def test_everything_is_looked_for_again_on_command():
    """A new task is made, that has found nothing yet."""
    top, samples = run({10: {"reacquire": True}})
    assert top.make.made == 2 and np.array_equal(top.sinks[0].data(), samples * 2)


@pytest.mark.timeout(60)
def test_latency_and_overload_follow_commands():
    """Of a running flowgraph."""
    top, _ = run({10: {"latency": 0.5, "on_overload": "pass"}})
    assert top.worker.pace.limit == 0.5 and top.worker.pace.passes
    assert run({10: {"latency": None}}, latency=2.0)[0].worker.pace.limit is None


@pytest.mark.timeout(60)
def test_windows_that_passed_are_reported_after_the_limit_has_gone(capfd):
    """A command takes the limit away between an overload and its report."""
    top, _ = run({10: {"on_overload": "wait", "latency": None}}, make=Scaling(0.4), on_overload="pass", latency=0.1)
    assert top.worker.report()["overloads"] > 0 and "passed unseparated" in "".join(capfd.readouterr())


class Endless(Scaling):
    """Its first task separates for ever, unless it is given up; the others at once."""

    def __call__(self):
        task = super().__call__()
        if self.made > 1:
            return task
        self.waiting = []
        return SimpleNamespace(submit=self.wait, give_up=lambda: [future.cancel() for future in self.waiting])

    def wait(self, windows, start=0, block=True):
        """A Future that nobody fulfils."""
        self.waiting.append(Future())
        return self.waiting[-1]


@pytest.mark.timeout(60)
def test_a_command_gives_up_what_nobody_waits_for():
    """A search that is too late for all of its windows holds up the separation that a command asks for no longer."""
    def ask():
        assert wait_for(lambda: top.worker.report()["windows"] > 30)
        top.worker.ask(sir_db=5)
        assert wait_for(lambda: top.responses.num_messages())

    samples = ramp(200 * HOP)
    source = Paced(samples, pause=0.005, actions={100 * HOP: ask})
    top = flow(source, Endless(), sps=0, commands=Commands("separator", Scaling.checks), on_overload="pass", latency=0.1)
    top.run()
    level, _ = levels(top, samples)
    assert top.worker.error is None and set(level) == {1, 5} and (level == 5).sum() > 20 * HOP


# ---- with the engine --------------------------------------------------------------------------------
def separated(block, samples, actions):
    """What leaves output 0 of a block, and the answers. actions: sample -> commands, or what is called."""
    top, sink, responses = gr.top_block(), blocks.vector_sink_c(), blocks.message_debug()

    def give(command, place):
        before = responses.num_messages()
        assert wait_for(lambda: block.worker.nitems_read(0) >= place // block.hop - 2)  # what came before has been taken
        command() if callable(command) else block.command(**command)
        assert callable(command) or wait_for(lambda: responses.num_messages() > before)

    source = Paced(samples, actions={place: partial(give, command, place) for place, command in actions.items()})
    top.connect(source, block, sink)
    top.msg_connect(block, "response", responses, "store")
    top.run()
    assert block.error is None
    assert len(sink.data()) == len(samples)
    return np.array(sink.data()), answers(responses)


def mixture(files, count):
    """(samples, the SOI in them)."""
    from alpha_rgs import sources as priors
    from alpha_rgs.sources import mixtures

    out = mixtures.draw(*(priors.load(path) for path in files), 1, count, -6, 20, seed=1)
    return out.y[0].numpy(), out.s[0].numpy()


@pytest.mark.timeout(100)
def test_method_levels_and_sources_change(files, tmp_path):
    """A linear filter, joint detection, and then with another timing, which is wrong; files may have gone before."""
    samples, soi = mixture(files, 40 * 1024)
    late = tmp_path / "late.toml"
    late.write_text(QPSK.replace("timing = 8.0", "timing = 12.0"))
    block = scoresep.separator(*files, window=1280, hop=1024, method="lmmse", sir_db=-6, snr_db="estimate")
    out, told = separated(block, samples, {
        4 * 1024: lambda: [path.unlink() for path in tmp_path.glob("*.toml") if path != late],
        10 * 1024: {"method": "joint", "snr_db": 20}, 20 * 1024: {"soi": str(late)}, 30 * 1024: {"soi": files[0]}})
    assert [answer["ok"] for answer in told] == [True, True, False] and "no such prior file" in told[2]["error"]
    parts = slice(3000, 8000), slice(13_000, 18_000), slice(23_000, 40_000)
    error = [np.mean(abs(out[part] - soi[part]) ** 2) for part in parts]
    assert error[1] < 0.3 * error[0] and error[2] > 10 * error[1]


@pytest.mark.timeout(100)
def test_a_prior_that_the_method_cannot_use_is_refused_or_taken_back(files):
    """OFDM has no matched filter; what was before goes on to the end."""
    samples, soi = mixture(files, 30 * 1024)
    block = scoresep.separator(*files, window=1280, hop=1024, sir_db=-6, snr_db=20)
    out, told = separated(block, samples, {8 * 1024: {"soi": files[1], "method": "matched_filter"}})
    assert not told[-1]["ok"]
    assert np.mean(abs(out - soi)[-8 * 1024:] ** 2) < 0.01


@pytest.mark.timeout(100)
def test_several_sources_are_exchanged(files):
    """The number of outputs stays."""
    samples, soi = mixture(files, 30 * 1024)
    block = scoresep.multi_separator(files, 1280, 1024)
    out, told = separated(block, samples, {
        5 * 1024: {"sources": [*files, files[1]]}, 10 * 1024: {"sources": files[::-1]}, 20 * 1024: {"noise_var": 0.01}})
    assert [answer["ok"] for answer in told] == [False, True, True]
    assert told[0]["error"] == "multi_separator: sources: 3 given, the block has outputs for 2"
    error = abs(out - soi) ** 2
    assert error[:8 * 1024].mean() < 0.02 and error[-12 * 1024:].mean() > 1


def test_each_parameter_that_a_listener_turns_is_a_callback(files):
    """GNU Radio Companion calls set_KEY; each is a command, and checked as such."""
    for block, given in ((scoresep.separator, files), (scoresep.multi_separator, [files])):
        made = block(*given)
        keys = set(made.worker.commands.checks) - {"reacquire"}
        assert keys == {name[4:] for name in dir(block) if name.startswith("set_")}
        wanted = set(inspect.signature(block.__init__).parameters) - {"self", "window", "hop", "engine", "options"}
        assert wanted == keys and set(CHECKS) - {"reacquire"} < keys


@pytest.mark.parametrize("given, error", [
    ({"latency": "soon"}, "separator: latency: 'soon' must be a number of seconds"),
    ({"gate_db": "x"}, "separator: gate_db: 'x'"), ({"window_tags": 1}, "separator: window_tags"),
    ({"gate_action": "cut"}, "separator: gate_action: 'cut' must be 'mute' or 'pass'"),
    ({"bypass": None}, "separator: bypass: None must be True or False"), ({"center_freq": "fm"}, "separator: center_freq: 'fm'")])
def test_parameters_are_refused_in_the_words_of_commands(files, given, error):
    with pytest.raises(ValueError, match=f"^{error}"):
        scoresep.separator(*files, **given)


def test_a_limit_that_is_shorter_than_a_window_is_refused():
    """Where the sample rate tells."""
    with pytest.raises(ValueError, match="separator: latency: 0.01 s is less than window and hop take, 0.1.* s"):
        scoresep.separator("tetra", "dmr", samp_rate=180e3, latency=0.01)


@pytest.mark.timeout(60)
def test_a_file_that_has_gone_does_not_matter_when_the_flowgraph_starts_again(files, tmp_path):
    """As GNU Radio has it start where it is reconfigured. A command of before still holds."""
    samples, soi = mixture(files, 12 * 1024)
    block = scoresep.separator(*files, window=1280, hop=1024, sir_db=-6, snr_db=20)
    first, _ = separated(block, samples, {})
    for path in tmp_path.glob("*.toml"):
        path.unlink()
    second, told = separated(block, samples, {6 * 1024: {"method": "lmmse"}})
    third, _ = separated(block, samples, {})
    assert told[0]["ok"]
    assert np.mean(abs(second[:3000] - soi[:3000]) ** 2) < 0.01 and block.stats()["method"] == "lmmse"
    assert np.mean(abs(third - soi) ** 2) > np.mean(abs(first - soi) ** 2)
