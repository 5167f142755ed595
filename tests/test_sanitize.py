# SPDX-License-Identifier: Apache-2.0
"""tests/sanitize.py: its leak checker survives what the engine does to it, and still sees a leak."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sanitize import run, sanitizer_environment

LIBRARY = """
static __thread long block[2];
long *thread_block(void) { return block; }
"""
# Threads that hold a block of a late library's thread-local memory; with an argument, a leak as well.
PROGRAM = """
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static long *(*thread_block)(void);
static pthread_barrier_t ready;

static void *hold(void *none) {
    thread_block()[0] = 1;
    pthread_barrier_wait(&ready);
    pause();
    return none;
}

int main(int argc, char **argv) {
    void *library = dlopen(argv[1], RTLD_NOW);
    pthread_t id;
    thread_block = (long *(*)(void))dlsym(library, "thread_block");
    pthread_barrier_init(&ready, NULL, 101);
    for (int i = 0; i < 100; ++i) pthread_create(&id, NULL, hold, NULL);
    pthread_barrier_wait(&ready);
    for (int i = 0; argc > 2 && i < 10; ++i) {
        char *volatile lost = malloc(77);
        lost[0] = 1;
    }
    return 0;
}
"""


@pytest.mark.parametrize(("leak", "says"), [([], ""), (["leak"], "detected memory leaks")])
def test_leak_checker_survives_thread_local_blocks(tmp_path: Path, leak: list[str], says: str) -> None:
    """It died, "Tracer caught signal 11", by where the heap put one: google/sanitizers, issue 1322."""
    library, program = tmp_path / "library.so", tmp_path / "program"
    for source, options, made in ((LIBRARY, ["-shared", "-fPIC"], library), (PROGRAM, ["-fsanitize=address"], program)):
        command = ["gcc", "-x", "c", "-", *options, "-o", made, "-ldl", "-pthread"]
        subprocess.run(command, input=source, text=True, check=True)
    outcome = run([program, library, *leak], sanitizer_environment(tmp_path))
    assert says in outcome.failure if says else not outcome.failure
