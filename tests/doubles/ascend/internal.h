// SPDX-License-Identifier: Apache-2.0
// What the double's parts share. The declarations are its own: it must not repeat the module's mistakes.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "double.h"

enum : int {
    ok = 0,
    not_initialised = 100001,
    repeated_init = 100002,
    bad_parse = 100013,
    bad_read = 100014,
    bad_param = 107000,
    bad_device = 107001,
    no_context = 107002,
    other_context = 107003,
    model_context = 107004,
    wrong_soc = 507008,
    lost_heartbeat = 507010,
    sync_timeout = 507046
};

using clock_type = std::chrono::steady_clock;

struct context {
    int device;
    int streams = 0, models = 0;
};

struct task {
    std::function<int()> run;
    std::vector<const uint8_t *> memory; // that it touches
    int64_t model;                       // that it runs, or -1
};

struct stream {
    context *owner;
    std::vector<task> tasks;
    clock_type::time_point busy_until;
};

enum : int { float32 = 0, float16 = 1 }; // of aclDataType

struct tensor_info {
    std::string name;
    int type, format; // as the SDK numbers them
    std::vector<int64_t> dims;
    size_t bytes, element = 1;
};

// What a .om holds, and what runs it: `run` fills the outputs, one after another.
struct model_content {
    std::string soc;
    std::vector<tensor_info> inputs, outputs;
    int delay_ms = 0;
    std::function<bool(const std::vector<const uint8_t *> &inputs, const std::vector<uint8_t *> &outputs)> run;
};

extern std::recursive_mutex mutex; // over everything below
extern std::set<context *> contexts;
extern std::set<stream *> streams;
extern thread_local context *current;

// Ends the process: the module broke the SDK's contract.
[[noreturn]] void breach(const char *text);
// A call of the SDK begins: 0, or the code it must return. May take long. Without `lock` held.
int step(const char *name);
// step, and what every call but a few needs: aclInit, and a device that answers. `release`: it is done even so.
int device_step(const char *name);
// What aclGetRecentErrMsg will say on this thread.
void say(const std::string &text);
void count(int change); // of what double_live counts
void count_pictures(int change);
std::string device_soc();
// How much longer the next stream's work takes; asked once after a hang was told to it.
int take_hang();

// `bytes` of memory of the device from `address` on; ends the process if they are not.
uint8_t *device_memory(const void *address, size_t bytes);
// Queues work of the current context's stream.
int enqueue(void *handle, task work);
bool is_pending(const std::function<bool(const task &)> &which);

// The file's content; NULL and a code if it is damaged.
std::unique_ptr<model_content> read_model(const char *path, int *code);
