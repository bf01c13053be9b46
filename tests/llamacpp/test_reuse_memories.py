"""Reuse where the cache can't do all of it: running states, windows, images."""

from __future__ import annotations

import pytest
from tiny_engine import PLAIN, TinyEngine, letters
from tiny_memories import write_tiny_hybrid, write_tiny_mamba, write_tiny_window
from viewer import EYES, A as ONE, B as OTHER, Viewer

from remuda import PromptRead

pytestmark = pytest.mark.usefixtures("load")

A, B = letters(200, 1), letters(200, 2)
WINDOW = 32


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("memories")
    return {
        "state": write_tiny_mamba(folder / "mamba.gguf"),
        "hybrid": write_tiny_hybrid(folder / "hybrid.gguf"),
        "window": write_tiny_window(folder / "window.gguf", window=WINDOW),
    }


@pytest.fixture(scope="module")
def plains(models, load):
    engines = {kind: TinyEngine(model, parallel=1, **PLAIN) for kind, model in models.items()}
    yield engines
    for engine in engines.values():
        assert engine.cells() == [0]
        engine.engine.close()


@pytest.fixture(scope="module")
def engines(models, load):
    engines = {kind: TinyEngine(model, num_batch=32, draft=True) for kind, model in models.items()}
    yield engines
    for engine in engines.values():
        engine.engine.close()


@pytest.fixture(params=["state", "hybrid", "window"])
def kind(request):
    return request.param


@pytest.fixture
def tiny(engines, kind):
    engines[kind].clear()
    return engines[kind]


@pytest.fixture
def plain(plains, kind):
    return plains[kind]


# --- both ---


def test_a_conversation_goes_on_from_all_that_was_said(tiny, plain):
    talk = A[:60]
    for turn in range(4):
        said = tiny.alone(talk, most=40)
        assert said.cached == (0 if turn == 0 else len(talk) - 31)
        assert said.whole == plain.alone(talk, most=40).whole
        talk = talk + said.tokens + letters(30, turn)


def test_a_prompt_that_is_repeated_gives_the_same_text(tiny, plain, kind):
    texts = [tiny.alone(A, most=most) for most in (40, 1, 40, 1)]
    # Where a single token was said nothing but the prompt is kept, without its last token of which it is in need.
    assert [text.cached for text in texts] == ([0, 199, 199, 199] if kind == "window" else [0, 0, 0, 0])
    for text, most in zip(texts, (40, 1, 40, 1), strict=True):
        assert text.whole == plain.alone(A, most=most).whole


@pytest.mark.parametrize("count", [10, 100, 170, 199])
def test_another_text_that_begins_alike_goes_its_own_way(tiny, plain, count):
    tiny.alone(A, most=60)
    assert tiny.alone(A[:count] + B[:40]).whole == plain.alone(A[:count] + B[:40]).whole
    assert tiny.alone(A[:count] + B[:20], most=60).whole == plain.alone(A[:count] + B[:20], most=60).whole


@pytest.mark.parametrize("count", [10, 170, 200])
@pytest.mark.parametrize("further", [1, 50])
def test_beside_a_sequence_that_still_writes_texts_are_the_same(tiny, plain, count, further):
    running = tiny.submit(1, A, most=100)
    tiny.until_read(1)
    tiny.step(further)
    other = tiny.submit(2, A[:count] + B[:20], most=40)
    third = tiny.submit(3, A + running.tokens + B[:7], most=40)
    begun = A + running.tokens + B[:7]
    tiny.run()
    assert running.whole == plain.alone(A, most=100).whole
    assert other.whole == plain.alone(A[:count] + B[:20], most=40).whole
    assert third.whole == plain.alone(begun, most=40).whole


def test_two_prompts_that_begin_alike_arrive_together(tiny, plain):
    long = letters(300, 3)
    texts = tiny.submit(1, long + A[:50]), tiny.submit(2, long + B[:50])
    tiny.run()
    assert [text.whole for text in texts] == [plain.alone(long + tail).whole for tail in (A[:50], B[:50])]


def test_a_prompt_that_was_read_in_part_is_gone_on_with(tiny, plain):
    tiny.submit(1, A)
    tiny.step(3)
    held = tiny.engine.cells(1)
    assert 0 < held < 200
    tiny.engine.interrupt(1)
    tiny.engine.cancel(1)
    said = tiny.alone(A)
    assert said.cached == held
    assert said.whole == plain.alone(A).whole


def test_a_shifted_text_leaves_nothing_wrong_behind(tiny, plain):
    said = tiny.submit(1, A[:50], limit=64, shift=True, keep=20)
    for _ in range(60):
        tiny.step()
    beside = tiny.submit(2, A[:50])
    tiny.run(2)
    tiny.engine.cancel(1)
    expected = plain.alone(A[:50]).whole
    assert len(said.tokens) > 50
    assert beside.whole == expected
    assert tiny.alone(A[:50]).whole == expected
    assert tiny.alone(A[:20] + B[:20]).whole == plain.alone(A[:20] + B[:20]).whole


def test_owners_take_nothing_from_each_other(tiny):
    said = tiny.alone(A, owner="alice")
    talk = A + said.tokens + B[:9]
    assert tiny.alone(talk, owner="bob").cached == 0
    assert tiny.alone(talk, owner="alice").cached > 200


def test_on_disk_states_are_right_or_left_alone(models, plain, kind, tmp_path):
    def engine():
        return TinyEngine(models[kind], parallel=1, prefix_disk=True, prefix_folder=str(tmp_path))

    long = letters(400, 4)
    first = engine()
    said = first.alone(long, most=40)
    first.engine.close()
    for prompt, cached in ((long + said.tokens + B[:9], 439), (long, None), (long[:300] + B[:9], None)):
        again = engine()
        text = again.alone(prompt)
        assert cached in {text.cached, None}
        assert text.whole == plain.alone(prompt).whole
        again.engine.close()


# --- one by one ---


@pytest.mark.parametrize("kind", ["state", "hybrid"], indirect=True)
def test_a_running_state_is_copied_whole_or_not_at_all(tiny, plain):
    said = tiny.alone(A, most=20)
    talk = A + said.tokens
    running = tiny.submit(1, talk, most=60)
    tiny.until_read(1)
    tiny.step()
    assert running.cached == 219
    copied = tiny.count("prefix_copied_total")
    other = tiny.submit(2, talk + running.tokens + B[:9])
    begun = talk + running.tokens + B[:9]
    tiny.until_read(2)
    assert other.cached == len(begun) - 9
    assert tiny.count("prefix_copied_total") == copied + 1
    tiny.run()
    assert other.whole == plain.alone(begun).whole


@pytest.mark.parametrize("kind", ["state", "hybrid"], indirect=True)
def test_nothing_is_guessed_that_could_not_be_taken_back(tiny):
    tiny.alone([65] * 60, most=200)
    assert tiny.count("tokens_drafted_total") == 0


@pytest.mark.parametrize("kind", ["window"], indirect=True)
def test_what_is_behind_the_window_is_in_a_slot_but_not_in_a_copy(tiny, plain):
    tiny.alone(A, most=60)
    # The slot itself can be cut back to any place.
    assert tiny.alone(A[:150] + B[:150], most=1).cached == 150
    running = tiny.submit(1, A[:150] + B[:150], most=100)
    tiny.until_read(1)
    assert running.cached == 299
    # A copy is good for going on from its end, and not from further up.
    begun = A[:150] + B[:150] + running.tokens
    same = tiny.submit(2, begun + A[:9])
    other = tiny.submit(3, A[:150] + A[:50])
    copied = tiny.count("prefix_copied_total")
    tiny.run(2, 3)
    assert same.cached == len(begun)
    assert other.cached == 0
    assert tiny.count("prefix_copied_total") == copied + 1, "one was copied in vain"
    tiny.run()
    assert same.whole == plain.alone(begun + A[:9]).whole
    assert other.whole == plain.alone(A[:150] + A[:50]).whole
    assert running.whole == plain.alone(A[:150] + B[:150], most=100).whole


@pytest.mark.parametrize("kind", ["window"], indirect=True)
def test_a_copy_is_not_cut_back_to_the_beginning_of_a_tile(tiny):
    """The window before that place is not in it."""
    long = letters(600, 6)
    running = tiny.submit(1, long, most=100)
    tiny.until_read(1)
    other = tiny.submit(2, long + running.tokens + letters(99, 7))
    tiny.until_read(2)
    assert other.cached == 0


# --- images ---

TEXT = "what can be seen on this rather large picture: [img-0] and why is it so?"


@pytest.fixture(scope="module", params=EYES)
def seers(request, eyes, viewers):
    """One that reuses, and one that does not."""
    viewer = Viewer(*eyes[request.param], settings={"prefix_disk": False, "draft": False})
    yield viewer, viewers[request.param]
    viewer.engine.close()


def see(viewer, text, *images, **more):
    """What it says, and how many tokens were not computed."""
    viewer.submit(7, text, *images, **more)
    events = []
    while 7 in viewer.engine._live:
        events += viewer.step()
    (cached,) = [event.cached for event in events if isinstance(event, PromptRead)]
    return viewer.texts[7], cached


def test_a_prompt_is_reused_up_to_its_first_image(seers):
    viewer, plain = seers
    before = len(viewer.engine.tokenize(TEXT[: TEXT.index("[img-0]")]))
    found = [see(viewer, TEXT, image) for image in (ONE, ONE, OTHER)]
    assert [text for text, _ in found] == [plain.see(TEXT, image) for image in (ONE, ONE, OTHER)]
    # Some put a token of their own before an image, and it is part of the beginning.
    assert found[0][1] == 0
    assert before - 1 <= found[1][1] == found[2][1] <= before + 1
    # And so is a text without one that begins alike.
    assert see(viewer, TEXT.replace("[img-0]", "not")) == (plain.see(TEXT.replace("[img-0]", "not")), before)


def test_nothing_is_reused_of_a_prompt_that_begins_with_an_image(seers):
    viewer, plain = seers
    for image in (ONE, OTHER, ONE):
        assert see(viewer, "[img-0] ?", image)[0] == plain.see("[img-0] ?", image)


def test_beside_a_live_sequence_with_an_image_only_its_beginning_is_copied(seers):
    viewer, plain = seers
    viewer.submit(1, TEXT, ONE, most=60)
    for _ in range(8):
        viewer.step()
    viewer.submit(2, TEXT, OTHER)
    viewer.submit(3, TEXT.replace("[img-0]", "not"))
    assert viewer.run(2, 3) == [plain.see(TEXT, OTHER), plain.see(TEXT.replace("[img-0]", "not"))]
    assert viewer.run(1) == [plain.see(TEXT, ONE, most=60)]
