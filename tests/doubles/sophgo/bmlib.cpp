// SPDX-License-Identifier: Apache-2.0
// libbmlib's part of the double: devices, memory on them, and the faults.
#include "internal.h"

#include <chrono>
#include <cstdarg>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

namespace {

std::mutex mutex;
int countdown = 0, fault_value = 0, devices = 1, sensors = 0;
double_fault fault = DOUBLE_CODE;
std::string failed;
unsigned int chip = 0x1686A200;
std::set<void *> handles;
std::map<unsigned long, unsigned int> memories; // address -> bytes
int runtimes = 0;
void (*log_callback)(const char *, int, const char *, va_list) = nullptr;

void log(const char *format, ...) {
    if (!log_callback) return;
    va_list values;
    va_start(values, format);
    log_callback("double", 16, format, values);
    va_end(values);
}

void check_handle(void *handle) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!handles.count(handle)) breach("a handle that is not open");
}

// The memory's bytes; `bytes` of them are about to be used.
uint8_t *at(const bm_memory &memory, unsigned int bytes) {
    const std::lock_guard<std::mutex> lock(mutex);
    const auto found = memories.find(memory.address);
    if (found == memories.end()) breach("memory that is not allocated");
    if (bytes > found->second) breach("memory used past its end");
    return reinterpret_cast<uint8_t *>(memory.address);
}

thread_local std::function<void()> pending; // this thread's launch

} // namespace

void breach(const char *text) {
    std::fprintf(stderr, "sophgo double: %s\n", text);
    std::fflush(stderr);
    std::_Exit(3);
}

int step(const char *name) {
    int value = 0;
    {
        const std::lock_guard<std::mutex> lock(mutex);
        if (countdown == 0 || --countdown != 0) return 0;
        failed = name;
        value = fault_value;
    }
    if (fault == DOUBLE_THROW) throw std::runtime_error("BMRuntime internal error.");
    if (fault == DOUBLE_HANG) {
        std::this_thread::sleep_for(std::chrono::milliseconds(value));
        return 0;
    }
    log("%s was told\nto fail%s", name, value == 5 ? " to alloc" : ""); // two lines: they must become one
    return value;
}

uint8_t *device_bytes(const bm_memory &memory, unsigned int bytes) {
    return at(memory, bytes);
}

void enqueue(std::function<void()> work) {
    if (pending) breach("a launch before the last one was synced");
    pending = std::move(work);
}

void count_runtime(int change) {
    const std::lock_guard<std::mutex> lock(mutex);
    runtimes += change;
}

extern "C" {

void double_fail(int at_call, double_fault how, int value) {
    const std::lock_guard<std::mutex> lock(mutex);
    countdown = at_call;
    fault = how;
    fault_value = value;
    failed.clear();
}

const char *double_failed(void) {
    const std::lock_guard<std::mutex> lock(mutex);
    return failed.c_str();
}

void double_set_devices(int count, unsigned int id, int has_sensors) {
    devices = count;
    chip = id;
    sensors = has_sensors;
}

int double_live(void) {
    const std::lock_guard<std::mutex> lock(mutex);
    return static_cast<int>(handles.size() + memories.size()) + runtimes;
}

int bm_dev_getcount(int *count) {
    if (const int code = step("bm_dev_getcount")) return code;
    *count = devices;
    return 0;
}

int bm_dev_request(void **handle, int device) {
    if (device < 0 || device >= devices) breach("a device that is not there");
    if (const int code = step("bm_dev_request")) return code;
    *handle = new int(device);
    const std::lock_guard<std::mutex> lock(mutex);
    handles.insert(*handle);
    return 0;
}

void bm_dev_free(void *handle) {
    check_handle(handle);
    {
        const std::lock_guard<std::mutex> lock(mutex);
        handles.erase(handle);
    }
    delete static_cast<int *>(handle);
    step("bm_dev_free");
}

int bm_get_chipid(void *handle, unsigned int *id) {
    check_handle(handle);
    if (const int code = step("bm_get_chipid")) return code;
    *id = chip;
    return 0;
}

int bm_malloc_device_byte(void *handle, bm_memory *memory, unsigned int bytes) {
    check_handle(handle);
    if (const int code = step("bm_malloc_device_byte")) return code;
    const auto address = reinterpret_cast<unsigned long>(std::calloc(bytes, 1));
    *memory = {address, 0, 0, 0, bytes};
    const std::lock_guard<std::mutex> lock(mutex);
    memories[address] = bytes;
    return 0;
}

void bm_free_device(void *handle, bm_memory memory) {
    check_handle(handle);
    std::free(at(memory, 0));
    {
        const std::lock_guard<std::mutex> lock(mutex);
        memories.erase(memory.address);
    }
    step("bm_free_device");
}

int bm_memcpy_s2d_partial(void *handle, bm_memory to, void *from, unsigned int bytes) {
    check_handle(handle);
    if (const int code = step("bm_memcpy_s2d_partial")) return code;
    std::memcpy(at(to, bytes), from, bytes);
    return 0;
}

int bm_memcpy_d2s_partial(void *handle, void *to, bm_memory from, unsigned int bytes) {
    check_handle(handle);
    if (pending) breach("outputs read before their launch was synced");
    if (const int code = step("bm_memcpy_d2s_partial")) return code;
    std::memcpy(to, at(from, bytes), bytes);
    return 0;
}

int bm_thread_sync(void *handle) {
    check_handle(handle);
    const std::function<void()> work = std::move(pending);
    pending = nullptr;
    if (const int code = step("bm_thread_sync")) return code;
    if (work) work();
    return 0;
}

int bm_get_chip_temp(void *, unsigned int *celsius) {
    if (!sensors) return 9; // BM_NOT_SUPPORTED
    *celsius = 55;
    return 0;
}

int bm_get_board_power(void *, unsigned int *) {
    return 9;
}

int bm_get_tpu_power(void *, float *watts) {
    if (!sensors) return 9;
    *watts = 12.5F;
    return 0;
}

int bm_get_stat(void *, int *stat) { // as the simulator: a success that fills in nothing
    if (!sensors) return 0;
    stat[0] = 4096;
    stat[1] = 1024;
    stat[2] = 80;
    return 0;
}

void bmlib_log_set_callback(void (*callback)(const char *, int, const char *, va_list)) {
    log_callback = callback;
}
}
