"""Images end to end in the engine: they are seen, and they cost what they say.

The models are made here, one for each way in which a projector's embeddings can stand in a prompt.
"""

from __future__ import annotations

import threading
from functools import partial

import pytest
from viewer import EYES, A, B, Viewer, picture

from remuda import PromptRead
from remuda.engine import Engine, Media
from remuda.errors import BadRequest

MEDIA = Engine.MEDIA


# --- seeing ---


def test_the_text_depends_on_the_image_and_on_nothing_else(viewer):
    first = viewer.see("see [img-0] now", A)
    assert len(first) >= 10
    assert viewer.see("see [img-0] now", B) != first
    assert viewer.see("see  now") != first
    assert viewer.see("see [img-0] now", A) == first


def test_the_order_of_images_and_the_text_round_them_matter(viewer):
    both = viewer.see("[img-0] and [img-1].", A, B)
    assert viewer.see("[img-1] and [img-0].", A, B) != both
    assert viewer.see("[img-1] and [img-0].", B, A) == both
    assert viewer.see("x[img-0] and [img-1].", A, B) != both
    assert viewer.see("[img-0] and [img-1]!", A, B) != both


def test_a_prompt_may_end_with_an_image_or_be_nothing_else(viewer):
    assert viewer.see("see [img-0]", A) != viewer.see("see [img-0]", B)
    assert viewer.see("[img-0]", A) != viewer.see("", B)


def test_the_file_format_does_not_matter(llava):
    assert llava.see("[img-0] ?", picture(1, kind="BMP")) == llava.see("[img-0] ?", A)


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("num_batch", [5, 16])
def test_cutting_a_prompt_into_stretches_changes_nothing(eyes, viewers, eye, num_batch):
    text = "a rather longer text before it [img-0] between [img-1] after"
    viewer = Viewer(*eyes[eye], num_batch=num_batch)
    assert viewer.see(text, A, B) == viewers[eye].see(text, A, B)
    viewer.engine.close()


def test_in_company_a_sequence_gives_what_it_gives_alone(viewer):
    prompts = {1: ("first [img-0] ?", A), 2: ("no image here",), 3: ("[img-1] then [img-0]", A, B)}
    alone = [viewer.see(*prompt) for prompt in prompts.values()]
    for id, prompt in prompts.items():
        viewer.submit(id, *prompt)
    assert viewer.run(*prompts) == alone


def test_sampling_with_penalties_goes_on_after_an_image(llava):
    options = {"temperature": 0.9, "repeat_penalty": 1.3, "repeat_last_n": -1, "frequency_penalty": 0.5}
    assert llava.see("[img-0] ?", A, options=options) == llava.see("[img-0] ?", A, options=options)


# --- tokens ---


def tokens_of(viewer, text, *images):
    tokens, media = viewer.engine.tokenize_media(text, images)
    assert [type(one) for one in media] == [Media] * len(images)
    assert tokens.count(MEDIA) == sum(one.tokens for one in media)
    return tokens


def test_the_places_of_an_image_are_in_its_tokens(llava):
    engine = llava.engine
    before, after = engine.tokenize("see "), engine.tokenize(" now", bos=False)
    assert tokens_of(llava, "see [img-0] now", A) == [*before, *[MEDIA] * 16, *after]
    assert engine.tokenize_media("x", [A], bos=False)[0] == [*[MEDIA] * 16, ord("x")]


def test_what_is_read_is_what_was_told(viewer):
    tokens, _ = viewer.submit(1, "see [img-0] now", A)
    read = []
    while not read:
        read = [event for event in viewer.step() if isinstance(event, PromptRead)]
    assert read[0].tokens == len(tokens)


def test_images_without_a_place_come_first(llava):
    assert tokens_of(llava, "x [img-1]", A, B) == tokens_of(llava, "[img-0]x [img-1]", A, B)
    assert tokens_of(llava, "x", A, B) == tokens_of(llava, "[img-0][img-1]x", A, B)
    assert llava.see("x [img-1]", A, B) == llava.see("[img-0]x [img-1]", A, B)


def test_only_the_first_name_of_an_image_that_is_there_is_one(llava):
    engine = llava.engine
    spelled = partial(engine.tokenize, bos=False)
    tail = "[img-0] [img-1] [img-00] [img-] [img-99999999999999999999]"
    assert tokens_of(llava, "[img-0]" + tail, A) == [*spelled("<s>"), *[MEDIA] * 16, *spelled(tail)]
    assert engine.tokenize_media("[img-0]", []) == (engine.tokenize("[img-0]"), [])


def test_the_librarys_own_marker_is_text_like_any_other(llava):
    marker = "<__media__>"
    expected = [*llava.engine.tokenize(marker), *[MEDIA] * 16, *llava.engine.tokenize(marker, bos=False)]
    assert tokens_of(llava, f"{marker}[img-0]{marker}", A) == expected


def test_a_beginning_that_is_written_out_is_not_doubled(llava):
    assert tokens_of(llava, "<s>x[img-0]", A) == tokens_of(llava, "x[img-0]", A)


def test_tokens_that_a_model_puts_round_an_image_and_its_tiles_are_there(viewers):
    grid = viewers["qwen2vl_merger"]
    start, end = (grid.engine.tokenize(f"<|vision_{name}|>", bos=False)[0] for name in ("start", "end"))
    tokens = tokens_of(grid, "a[img-0]b", A)
    assert tokens[2] == start
    assert tokens[-2] == end
    _, (tiled,) = viewers["idefics3"].engine.tokenize_media("[img-0]", [A])
    assert tiled.tokens > 5 * 4, "a whole, four tiles and what is between them"


def test_a_lone_surrogate_is_refused(llava):
    with pytest.raises(BadRequest, match="surrogate"):
        llava.engine.tokenize_media("\ud800 [img-0]", [A])


def test_tokenizing_goes_on_in_another_thread_while_images_are_read(viewer):
    expected = viewer.see("[img-0] ?", A)
    wanted = tokens_of(viewer, "[img-1] ? [img-0]", A, B)
    stop, found = threading.Event(), []

    def prepare():
        while not stop.is_set():
            found.append(viewer.engine.tokenize_media("[img-1] ? [img-0]", [A, B])[0] == wanted)

    other = threading.Thread(target=prepare)
    other.start()
    seen = [viewer.see("[img-0] ?", A) for _ in range(20)]
    stop.set()
    other.join(60)
    assert seen == [expected] * 20
    assert found
    assert all(found)
