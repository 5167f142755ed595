// SPDX-License-Identifier: Apache-2.0
// What the double's two libraries share. The declarations are its own: it must not repeat the module's mistakes.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>

#include "double.h"

struct bm_memory {
    unsigned long address;
    unsigned int reserved;
    int dmabuf;
    unsigned int flags, size;
};

struct bm_shape {
    int count, dims[8];
};

struct bm_tensor {
    int dtype;
    bm_shape shape;
    bm_memory memory;
    int mode;
};

// Ends the process: the module broke the SDK's contract.
[[noreturn]] void breach(const char *text);
// A call of the SDK begins: 0, or the code it must return; may throw or take long.
int step(const char *name);
// The memory behind a handle, of which `bytes` are used.
uint8_t *device_bytes(const bm_memory &memory, unsigned int bytes);
// What the calling thread's next sync does.
void enqueue(std::function<void()> work);
void count_runtime(int change);
