// SPDX-License-Identifier: Apache-2.0
// The runtime's part of the double: initialisation, devices, contexts, streams, memory, copies, and the faults.
#include "internal.h"

#include <thread>

std::recursive_mutex mutex;
std::set<context *> contexts;
std::set<stream *> streams;
thread_local context *current = nullptr;

namespace {

using lock_type = std::lock_guard<std::recursive_mutex>;

struct block {
    size_t bytes;
    bool device, pinned;
};

std::map<const uint8_t *, block> blocks;
std::map<int, int> holds; // device -> aclrtSetDevice minus aclrtResetDevice
std::map<int, context *> defaults;
bool initialised = false, lost = false, on_board = false;
int live = 0, pictures = 0, pageable = 0, devices = 1;
std::string soc = "Ascend310P3";

std::string fault_name, failed;
int countdown = 0, fault_value = 0, hang = 0;
double_fault fault = DOUBLE_CODE;
thread_local std::string words, said;

const std::pair<const uint8_t *const, block> *find_block(const void *address) {
    const auto *bytes = static_cast<const uint8_t *>(address);
    auto found = blocks.upper_bound(bytes);
    if (found == blocks.begin()) return nullptr;
    --found;
    return bytes < found->first + found->second.bytes ? &*found : nullptr;
}

void *make_block(size_t bytes, bool device, bool pinned) {
    auto *memory = static_cast<uint8_t *>(std::aligned_alloc(64, (bytes + 63) / 64 * 64 + 64));
    std::memset(memory, 0xA5, bytes); // neither side zeroes
    blocks[memory] = {bytes, device, pinned};
    count(1);
    return memory;
}

void free_block(void *address, bool device) {
    const auto found = blocks.find(static_cast<const uint8_t *>(address));
    if (found == blocks.end()) breach("memory freed that is not allocated");
    if (device ? !found->second.device : !found->second.pinned) breach("memory freed by the call of the other kind");
    const uint8_t *first = found->first, *end = first + found->second.bytes;
    const auto touches = [=](const task &each) {
        for (const uint8_t *used : each.memory)
            if (used >= first && used < end) return true;
        return false;
    };
    if (is_pending(touches)) breach("memory freed while a stream may still use it");
    blocks.erase(found);
    std::free(address);
    count(-1);
}

stream *own_stream(void *handle) {
    auto *found = static_cast<stream *>(handle);
    if (!streams.count(found)) breach("a stream that is not there");
    return found;
}

// Waits until the stream's work is due, at most `timeout_ms` (negative: for ever), then does it.
int synchronise(void *handle, int timeout_ms) {
    clock_type::time_point due;
    {
        const lock_type lock(mutex);
        stream *found = own_stream(handle);
        if (found->owner != current) return other_context;
        due = found->busy_until;
    }
    const auto limit = clock_type::now() + std::chrono::milliseconds(timeout_ms);
    if (timeout_ms >= 0 && due > limit) {
        std::this_thread::sleep_until(limit);
        return sync_timeout;
    }
    std::this_thread::sleep_until(due);
    std::vector<task> tasks;
    {
        const lock_type lock(mutex);
        tasks = own_stream(handle)->tasks; // they stay pending while they run
    }
    int code = ok;
    for (const task &each : tasks)
        if (code == ok) code = each.run();
    const lock_type lock(mutex);
    own_stream(handle)->tasks.clear();
    return code;
}

} // namespace

void breach(const char *text) {
    std::fprintf(stderr, "ascend double: %s\n", text);
    std::fflush(stderr);
    std::_Exit(3);
}

int step(const char *name) {
    int sleep_ms = 0;
    {
        const lock_type lock(mutex);
        if (countdown == 0 || (!fault_name.empty() && fault_name != name) || --countdown != 0) return ok;
        failed = name;
        if (fault == DOUBLE_LOSE) lost = true;
        if (fault == DOUBLE_CODE) {
            say(std::string(name) + " was told\nto fail"); // two lines: they must become one
            return fault_value;
        }
        if (fault != DOUBLE_HANG) return ok;
        if (failed == "aclmdlExecuteAsync")
            hang = fault_value;
        else
            sleep_ms = fault_value;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(sleep_ms));
    return ok;
}

int device_step(const char *name) {
    if (const int code = step(name)) return code;
    const lock_type lock(mutex);
    if (!initialised) return not_initialised;
    if (lost) say("the device does not answer");
    return lost ? lost_heartbeat : ok;
}

void say(const std::string &text) {
    words = text;
}

void count(int change) {
    const lock_type lock(mutex);
    live += change;
}

void count_pictures(int change) {
    const lock_type lock(mutex);
    pictures += change;
}

std::string device_soc() {
    const lock_type lock(mutex);
    return soc;
}

int take_hang() {
    const lock_type lock(mutex);
    const int value = hang;
    hang = 0;
    return value;
}

uint8_t *device_memory(const void *address, size_t bytes) {
    const lock_type lock(mutex);
    const auto *found = find_block(address);
    if (!found || !found->second.device) breach("memory of the device that is not allocated");
    const auto offset = static_cast<size_t>(static_cast<const uint8_t *>(address) - found->first);
    if (bytes > found->second.bytes - offset) breach("memory used past its end");
    return const_cast<uint8_t *>(found->first) + offset;
}

int enqueue(void *handle, task work) {
    const lock_type lock(mutex);
    stream *found = own_stream(handle);
    if (found->owner != current) return other_context;
    found->tasks.push_back(std::move(work));
    return ok;
}

bool is_pending(const std::function<bool(const task &)> &which) {
    const lock_type lock(mutex);
    for (const stream *each : streams)
        for (const task &work : each->tasks)
            if (which(work)) return true;
    return false;
}

extern "C" {

void double_fail(const char *name, int at, double_fault how, int value) {
    const lock_type lock(mutex);
    fault_name = name ? name : "";
    countdown = at;
    fault = how;
    fault_value = value;
    failed.clear();
}

const char *double_failed(void) {
    const lock_type lock(mutex);
    return failed.c_str();
}

void double_set_devices(int count, const char *name) {
    const lock_type lock(mutex);
    devices = count;
    soc = name;
}

void double_set_on_board(int board) {
    const lock_type lock(mutex);
    on_board = board != 0;
}

int double_live(void) {
    const lock_type lock(mutex);
    return live;
}

int double_pictures(void) {
    const lock_type lock(mutex);
    return pictures;
}

int double_pageable(void) {
    const lock_type lock(mutex);
    return pageable;
}

int aclInit(const char *) {
    if (const int code = step("aclInit")) return code;
    const lock_type lock(mutex);
    if (initialised) return repeated_init;
    initialised = true;
    return ok;
}

int aclFinalize(void) {
    const lock_type lock(mutex);
    initialised = false;
    return ok;
}

int aclrtGetVersion(int32_t *major, int32_t *minor, int32_t *patch) {
    *major = 1;
    *minor = 99;
    *patch = 0;
    return ok;
}

int aclrtGetDeviceCount(uint32_t *number) {
    if (const int code = step("aclrtGetDeviceCount")) return code;
    const lock_type lock(mutex);
    if (!initialised) return not_initialised;
    *number = static_cast<uint32_t>(devices);
    return ok;
}

int aclrtSetDevice(int32_t device) {
    {
        const lock_type lock(mutex);
        if (holds[device] == 0) lost = false; // opened anew, it is back
    }
    if (const int code = device_step("aclrtSetDevice")) return code;
    const lock_type lock(mutex);
    if (device < 0 || device >= devices) return bad_device;
    if (holds[device]++ == 0) contexts.insert(defaults[device] = new context{device});
    current = defaults[device];
    count(1);
    return ok;
}

int aclrtResetDevice(int32_t device) {
    const int code = device_step("aclrtResetDevice");
    const lock_type lock(mutex);
    if (holds[device] == 0) breach("a device given back that nobody holds");
    count(-1);
    if (--holds[device] > 0) return code;
    for (const context *each : contexts)
        if (each->device == device && each != defaults[device]) breach("a device given back that has contexts");
    contexts.erase(defaults[device]);
    delete defaults[device];
    return code;
}

int aclrtGetRunMode(int *mode) {
    if (const int code = device_step("aclrtGetRunMode")) return code;
    if (!current) return no_context;
    *mode = on_board ? 0 : 1;
    return ok;
}

int aclrtCreateContext(void **handle, int32_t device) {
    if (const int code = device_step("aclrtCreateContext")) return code;
    const lock_type lock(mutex);
    if (device < 0 || device >= devices) return bad_device;
    *handle = current = new context{device};
    contexts.insert(current);
    count(1);
    return ok;
}

int aclrtDestroyContext(void *handle) {
    const int code = device_step("aclrtDestroyContext");
    const lock_type lock(mutex);
    auto *found = static_cast<context *>(handle);
    if (!contexts.count(found) || found == defaults[found->device]) breach("a context that is not the caller's");
    if (found->streams || found->models) breach("a context ended that has streams or models");
    if (current == found) current = nullptr;
    contexts.erase(found);
    delete found;
    count(-1);
    return code;
}

int aclrtSetCurrentContext(void *handle) {
    const lock_type lock(mutex);
    if (!contexts.count(static_cast<context *>(handle))) return bad_param;
    current = static_cast<context *>(handle);
    return ok;
}

int aclrtGetCurrentContext(void **handle) {
    *handle = current;
    return current ? ok : no_context;
}

int aclrtCreateStream(void **handle) {
    if (const int code = device_step("aclrtCreateStream")) return code;
    if (!current) return no_context;
    const lock_type lock(mutex);
    auto *made = new stream{current, {}, {}};
    ++current->streams;
    streams.insert(made);
    *handle = made;
    count(1);
    return ok;
}

int aclrtDestroyStream(void *handle) {
    const int code = device_step("aclrtDestroyStream");
    const lock_type lock(mutex);
    stream *found = own_stream(handle);
    if (found->owner != current) breach("a stream ended outside its context");
    if (!found->tasks.empty() && !lost) breach("a stream ended before its work was waited for");
    --found->owner->streams;
    streams.erase(found);
    delete found;
    count(-1);
    return code;
}

int aclrtSynchronizeStream(void *handle) {
    const int code = device_step("aclrtSynchronizeStream");
    if (code) {
        const lock_type lock(mutex);
        own_stream(handle)->tasks.clear();
        return code;
    }
    return synchronise(handle, -1);
}

int aclrtMalloc(void **memory, size_t bytes, int) {
    if (const int code = device_step("aclrtMalloc")) return code;
    if (!current) return no_context;
    if (bytes == 0) return bad_param;
    const lock_type lock(mutex);
    *memory = make_block(bytes, true, on_board);
    return ok;
}

int aclrtFree(void *memory) {
    const int code = device_step("aclrtFree");
    if (!current) breach("memory freed without a context");
    const lock_type lock(mutex);
    free_block(memory, true);
    return code;
}

int aclrtMallocHost(void **memory, size_t bytes) {
    if (const int code = device_step("aclrtMallocHost")) return code;
    if (!current) return no_context;
    if (bytes == 0) return bad_param;
    const lock_type lock(mutex);
    *memory = make_block(bytes, on_board, true);
    return ok;
}

int aclrtFreeHost(void *memory) {
    const int code = device_step("aclrtFreeHost");
    if (!current) breach("memory freed without a context");
    const lock_type lock(mutex);
    free_block(memory, false);
    return code;
}

int aclrtMemcpyAsync(void *to, size_t room, const void *from, size_t bytes, int kind, void *handle) {
    if (const int code = device_step("aclrtMemcpyAsync")) return code;
    const lock_type lock(mutex);
    if (bytes == 0 || bytes > room || (kind != 1 && kind != 2)) return bad_param;
    device_memory(kind == 1 ? to : from, bytes);
    const auto *other = find_block(kind == 1 ? from : to);
    const auto copy = [=] {
        std::memcpy(to, from, bytes);
        return ok;
    };
    if (!other) { // pageable
        ++pageable;
        return copy();
    }
    if (!other->second.pinned) breach("a copy in the wrong direction");
    return enqueue(handle, {copy, {static_cast<const uint8_t *>(to), static_cast<const uint8_t *>(from)}, -1});
}

#ifndef DOUBLE_OLD

const char *aclGetRecentErrMsg(void) {
    said.swap(words); // told once
    words.clear();
    return said.empty() ? nullptr : said.c_str();
}

const char *aclrtGetSocName(void) {
    static thread_local std::string name;
    name = device_soc();
    return step("aclrtGetSocName") ? nullptr : name.c_str();
}

int aclrtSynchronizeStreamWithTimeout(void *handle, int32_t timeout_ms) {
    const int code = device_step("aclrtSynchronizeStreamWithTimeout");
    if (code) {
        const lock_type lock(mutex);
        own_stream(handle)->tasks.clear();
        return code;
    }
    return synchronise(handle, timeout_ms);
}

int aclrtStreamAbort(void *handle) {
    if (device_soc().find("910B") == std::string::npos) return 207000;
    const lock_type lock(mutex);
    stream *found = own_stream(handle);
    found->busy_until = {};
    found->tasks = {{[] { return 107023; }, {}, -1}};
    return ok;
}

#endif
}
