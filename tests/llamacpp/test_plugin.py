"""Announcing the backend costs no import of llama.cpp."""

from __future__ import annotations

import subprocess
import sys


def test_the_plugin_and_the_backend_do_not_import_the_engine():
    program = (
        "import sys, remuda_llamacpp.plugin as p, remuda_llamacpp.backend as b\n"
        "found = []\n"
        "p.remuda_register_backends(lambda name, factory, hint='': found.append((name, factory, hint)))\n"
        "(name, factory, hint), = found\n"
        "assert (name, factory) == ('llamacpp', 'remuda_llamacpp.backend:LlamaCppBackend')\n"
        "assert hint == \"pip install 'remuda[llamacpp]'\"\n"
        "assert b.LlamaCppBackend.formats == {'gguf'}\n"
        "assert not [name for name in sys.modules if name.startswith(('llama_cpp', 'numpy'))]\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
