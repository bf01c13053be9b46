"""The ceiling: a bare batched loop over the bindings, in a process of its own. No server, no scheduling, no text.

It reads the same prompts in batches of 512 tokens, decodes as many tokens and samples with the same kind of sampler;
all sequences start and end together, which is the kindest case. Whether one cache for all sequences or one for each is
faster depends on how many there are and how long: both can be had. Requests come as JSON lines on stdin, answers leave
on stdout.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import time
from typing import Any

import llama_cpp.llama_cpp as llama

__all__ = ["BareLoop", "main"]


class BareLoop:
    """`streams` sequences of at most `context` tokens; `unified` puts all of them into one cache."""

    def __init__(self, path: str, streams: int, context: int, threads: int, *, unified: bool = True) -> None:
        llama.llama_backend_init()
        quiet = llama.llama_log_callback(lambda level, text, data: None)
        self._keep = quiet
        llama.llama_log_set(quiet, None)
        model_params = llama.llama_model_default_params()
        self.model = llama.llama_model_load_from_file(path.encode(), model_params)
        self.vocab = llama.llama_model_get_vocab(self.model)
        params = llama.llama_context_default_params()
        params.n_ctx = context * streams
        params.n_seq_max = streams
        params.n_batch = params.n_ubatch = 512
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = unified
        self.ctx = llama.llama_init_from_model(self.model, params)
        self.batch = llama.llama_batch_init(512, 0, 1)
        self.greedy = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        llama.llama_sampler_chain_add(self.greedy, llama.llama_sampler_init_greedy())

    def tokenize(self, text: str) -> list[int]:
        raw = text.encode()
        room = (llama.llama_token * (len(raw) + 8))()
        count = llama.llama_tokenize(self.vocab, raw, len(raw), room, len(room), True, True)
        return list(room[:count])

    def ends(self, token: int) -> bool:
        return bool(llama.llama_vocab_is_eog(self.vocab, token))

    def run(self, prompts: list[list[int]], tokens: int) -> tuple[list[list[float]], list[list[int]]]:
        """For each prompt the tokens, and the seconds until each was there."""
        llama.llama_memory_clear(llama.llama_get_memory(self.ctx), False)
        began = time.perf_counter()
        arrivals: list[list[float]] = [[] for _ in prompts]
        out: list[list[int]] = [[] for _ in prompts]
        pending: list[tuple[int, int, int, bool]] = [
            (token, at, seq, at == len(prompt) - 1)
            for seq, prompt in enumerate(prompts)
            for at, token in enumerate(prompt)
        ]
        for begin in range(0, len(pending), 512):
            for seq in self._decode(pending[begin : begin + 512], out):
                arrivals[seq].append(time.perf_counter() - began)
        for step in range(tokens - 1):
            self._decode([(out[seq][-1], len(prompt) + step, seq, True) for seq, prompt in enumerate(prompts)], out)
            now = time.perf_counter() - began
            for times in arrivals:
                times.append(now)
        return arrivals, out

    def _decode(self, entries: list[tuple[int, int, int, bool]], out: list[list[int]]) -> list[int]:
        batch = self.batch
        batch.n_tokens = len(entries)
        for index, (token, position, seq, logits) in enumerate(entries):
            batch.token[index] = token
            batch.pos[index] = position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = seq
            batch.logits[index] = logits
        if llama.llama_decode(self.ctx, batch) != 0:
            raise RuntimeError("llama_decode failed")
        sampled: list[int] = []
        for index, (_, _, seq, logits) in enumerate(entries):
            if logits:
                out[seq].append(llama.llama_sampler_sample(self.greedy, self.ctx, ctypes.c_int32(index)))
                sampled.append(seq)
        return sampled


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--apart", action="store_true", help="a cache for each sequence")
    given = parser.parse_args()
    loop = BareLoop(given.model, given.streams, given.context, given.threads, unified=not given.apart)
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        prompts = [loop.tokenize(prompt) for prompt in request["prompts"]]
        arrivals, out = loop.run(prompts, request["tokens"])
        goes_on = [not any(map(loop.ends, tokens)) for tokens in out]
        sys.stdout.write(json.dumps({"arrivals": arrivals, "goes_on": goes_on}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
