"""Leaving early: what it frees, and that nobody else notices."""

from __future__ import annotations

import threading

import pytest

from remuda.errors import BadRequest, EngineError
from remuda_llamacpp import _native
from remuda_llamacpp.texts import writer

LONG = [500 + number % 400 for number in range(6000)]


def test_cancel_while_writing_frees_the_cells_and_the_slot(driver, cells):
    driver.submit(1, "Once upon a time", most=50)
    driver.submit(2, "Once upon a time", most=50)
    for _ in range(4):
        driver.step()
    assert driver.engine.cells(1) > 4
    driver.engine.cancel(1)
    assert driver.engine.cells(1) == 0
    assert cells(driver.engine)[0] == 0
    assert cells(driver.engine)[1] > 4
    driver.submit(3, "Another", most=50)
    driver.step()
    assert cells(driver.engine)[0] > 0


def test_cancel_of_an_unknown_id_is_ignored(driver):
    driver.engine.cancel(77)
    driver.engine.interrupt(77)
    assert driver.alone("Hello", most=2).tokens


@pytest.fixture(scope="module")
def roomy(load):
    return load(context=6400, parallel=2)


def test_interrupt_stops_a_long_prompt_within_a_stretch(roomy, drive, cells, monkeypatch):
    driver = drive(roomy)
    expected = driver.alone("Once upon a time", most=12).data
    running = driver.submit(1, "Once upon a time", most=12)
    driver.step()
    driver.submit(2, LONG)
    driver.step()
    read = cells(roomy)[1]
    assert 0 < read <= 128

    reading, results, stretches = threading.Event(), [], [read]
    decode = _native.decode

    def watched(context, batch):
        writes = roomy._texts.decoder._reading < 0
        if not writes:
            reading.set()
        results.append(decode(context, batch))
        if results[-1] == 0 and not writes:
            stretches.append(batch.n_tokens)
        return results[-1]

    def interrupt():
        assert reading.wait(60)
        roomy.interrupt(2)

    monkeypatch.setattr(_native, "decode", watched)
    monkeypatch.setattr(writer, "_GAP", 1e6)  # so that a stretch is long enough to be met
    other = threading.Thread(target=interrupt)
    other.start()
    for _ in range(3):  # the interrupt may come too late for a stretch, but not for two
        driver.step()
    other.join(60)
    monkeypatch.undo()

    assert 2 in results, "no decode was aborted"
    assert cells(roomy)[1] == sum(stretches), "an aborted stretch leaves nothing"
    assert len(stretches) <= 2, "none follows it"
    roomy.cancel(2)
    assert cells(roomy)[1] == 0
    driver.run(1)
    assert running.data == expected
    assert driver.alone("Once upon a time", most=12).data == expected


def test_an_aborted_stretch_is_read_again_if_nobody_cancels(driver, monkeypatch):
    expected = driver.alone("The capital of France is", most=5).data
    text = driver.submit(1, "The capital of France is", most=5)
    decode = _native.decode

    def aborted(context, batch):
        driver.engine._texts.decoder._abort.lift()
        return decode(context, batch)

    monkeypatch.setattr(_native, "decode", aborted)
    driver.step()
    assert text.read is None
    assert driver.engine.cells(1) == 0
    monkeypatch.undo()
    driver.run(1)
    assert text.data == expected


def test_interrupt_before_the_first_stretch_spends_nothing_on_it(driver):
    text = driver.submit(1, "The capital of France is", most=5)
    driver.engine.interrupt(1)
    driver.step()
    assert text.read is None
    driver.engine.cancel(1)
    assert b"Paris" in driver.alone("The capital of France is", most=5).data


def test_submit_refuses_what_it_cannot_hold(driver):
    engine = driver.engine
    with pytest.raises(BadRequest, match="vocabulary"):
        driver.submit(1, [engine.vocabulary])
    with pytest.raises(BadRequest, match="vocabulary"):
        driver.submit(1, [-1])
    with pytest.raises(BadRequest, match="fit"):
        driver.submit(1, [5, 6], limit=2)
    with pytest.raises(BadRequest, match="fit"):
        driver.submit(1, [], limit=2)
    for number in range(engine.parallel):
        driver.submit(number, "Hi")
    with pytest.raises(EngineError, match="taken"):
        driver.submit(99, "Hi")
