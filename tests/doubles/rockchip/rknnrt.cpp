// SPDX-License-Identifier: Apache-2.0
// librknnrt's double: a network whose outputs are a function of every pixel of their own picture. The declarations are
// its own: it must not repeat the module's mistakes.
#include "double.h"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace {

constexpr uint32_t side = 64, channels = 3, outputs = 6, classes = 3, margin = 16;
enum { float32 = 0, float16 = 1, int8 = 2, uint8 = 3 };
enum { planes = 0, pixels = 1 };
const char *const names[] = {"box_0", "score_0", "box_1", "score_1", "box_2", "score_2", "one_more"};

struct tensor_attr {
    uint32_t index, n_dims, dims[16];
    char name[256];
    uint32_t n_elems, size;
    int fmt, type, qnt_type;
    int8_t fl;
    int32_t zp;
    float scale;
    uint32_t w_stride, size_with_stride;
    uint8_t pass_through;
    uint32_t h_stride;
};

struct tensor_mem {
    void *virt_addr;
    uint64_t phys_addr;
    int32_t fd, offset;
    uint32_t size, flags;
    void *priv_data;
};

struct context {
    double_model kind = DOUBLE_PLAIN;
    uint32_t batch = 1, slow_ms = 0;
    uint64_t original = 0; // whose weights it shares; 0: it has its own
    int cores = 0;
    bool running = false;
    std::map<tensor_mem *, bool> memories;
    tensor_mem *input = nullptr, *out[outputs + 1] = {};
    int types[outputs + 1] = {};
};

std::mutex mutex;
int countdown = 0, fault_value = 0, runs = 0, last_cores = 0, loads = 0, live_memories = 0;
double_fault fault = DOUBLE_CODE;
std::string failed, chip = "rk3588";
double_model model = DOUBLE_PLAIN;
uint64_t next_handle = 1;
std::map<uint64_t, std::unique_ptr<context>> contexts;

[[noreturn]] void breach(const char *text) {
    std::fprintf(stderr, "rockchip double: %s\n", text);
    std::fflush(stderr);
    std::_Exit(3);
}

// A call begins: 0, or the code that it must return; may take long.
int step(const char *name) {
    int value = 0;
    {
        const std::lock_guard<std::mutex> lock(mutex);
        if (countdown == 0 || --countdown != 0) return 0;
        failed = name;
        value = fault_value;
    }
    if (fault == DOUBLE_CODE) return value;
    std::this_thread::sleep_for(std::chrono::milliseconds(value));
    return 0;
}

context &at(uint64_t handle) {
    const std::lock_guard<std::mutex> lock(mutex);
    const auto found = contexts.find(handle);
    if (found == contexts.end()) breach("a context that is not open");
    return *found->second;
}

uint32_t count_outputs(double_model kind) {
    return outputs + (kind == DOUBLE_MORE);
}

uint32_t row_pixels(double_model kind) {
    return side + (kind == DOUBLE_STRIDED ? margin : 0);
}

tensor_attr input_attr(const context &of) {
    tensor_attr made = {};
    const uint32_t width = of.kind == DOUBLE_NARROW ? side / 2 : side;
    const uint32_t shapes[2][4] = {{of.batch, channels, side, width}, {of.batch, side, width, channels}};
    made.n_dims = 4;
    made.fmt = of.kind == DOUBLE_PLANAR ? planes : pixels;
    std::memcpy(made.dims, shapes[made.fmt], sizeof shapes[0]);
    std::strcpy(made.name, "images_u8");
    made.n_elems = made.size = of.batch * side * width * channels;
    made.type = int8;
    made.qnt_type = 2;
    made.zp = -128;
    made.scale = 1.0F / 255;
    made.w_stride = of.kind == DOUBLE_PLAIN ? 0 : row_pixels(of.kind);
    made.size_with_stride = of.batch * side * row_pixels(of.kind) * channels;
    return made;
}

tensor_attr output_attr(const context &of, uint32_t index) {
    tensor_attr made = {};
    const uint32_t cells = side / 8 >> index / 2;
    const uint32_t shape[4] = {of.batch, index % 2 ? classes : 4, cells - (of.kind == DOUBLE_SMALLER && index == 2),
                               cells};
    made.index = index;
    made.n_dims = 4;
    std::memcpy(made.dims, shape, sizeof shape);
    std::strcpy(made.name, of.kind == DOUBLE_RENAMED && index == 1 ? "another" : names[index]);
    made.n_elems = shape[0] * shape[1] * shape[2] * shape[3];
    made.type = of.kind == DOUBLE_INT8 ? int8 : float16;
    made.size = made.size_with_stride = made.n_elems * (made.type == int8 ? 1 : 2);
    made.qnt_type = of.kind == DOUBLE_INT8 ? 2 : 0;
    made.scale = of.kind == DOUBLE_INT8 ? 0.5F : 1.0F;
    return made;
}

// Sum over all pixels of value times place, in NHWC order.
uint32_t digest(const uint8_t *picture, uint32_t row) {
    uint32_t sum = 0;
    for (uint32_t y = 0; y < side; ++y)
        for (uint32_t x = 0; x < side * channels; ++x)
            sum += picture[y * row * channels + x] * ((y * side * channels + x) % 1021 + 1);
    return sum;
}

void compute(context &of) {
    const uint32_t row = row_pixels(of.kind);
    for (uint32_t picture = 0; picture < of.batch; ++picture) {
        const auto *from = static_cast<const uint8_t *>(of.input->virt_addr) + picture * side * row * channels;
        const uint32_t sum = digest(from, row);
        for (uint32_t t = 0; t < outputs; ++t) {
            const uint32_t each = output_attr(of, t).n_elems / of.batch;
            auto *to = static_cast<uint8_t *>(of.out[t]->virt_addr);
            for (uint32_t k = 0; k < each; ++k) {
                const auto steps = static_cast<int>((sum + k * 7U + t * 13U) % 23U); // 0 to 22 halves
                const float real = t % 2 ? static_cast<float>(steps) / 2 - 9 : static_cast<float>(steps) / 2;
                const auto small = static_cast<int8_t>(real * 2);
                if (of.types[t] == int8)
                    std::memcpy(to + picture * each + k, &small, 1);
                else
                    std::memcpy(to + 4 * (picture * each + k), &real, 4);
            }
        }
    }
}

uint64_t add(std::unique_ptr<context> made) {
    const std::lock_guard<std::mutex> lock(mutex);
    contexts[next_handle] = std::move(made);
    return next_handle++;
}

uint32_t number_after(const std::string &text, const char *key, uint32_t otherwise) {
    const size_t begin = text.find(key);
    return begin == std::string::npos ? otherwise
                                      : static_cast<uint32_t>(std::atoi(text.c_str() + begin + std::strlen(key)));
}

} // namespace

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

void double_set_model(double_model kind) {
    model = kind;
}

void double_set_chip(const char *name) {
    chip = name;
}

int double_live(void) {
    const std::lock_guard<std::mutex> lock(mutex);
    return static_cast<int>(contexts.size()) + live_memories;
}

int double_runs(void) {
    const std::lock_guard<std::mutex> lock(mutex);
    return runs;
}

int double_cores(void) {
    const std::lock_guard<std::mutex> lock(mutex);
    return last_cores;
}

int double_loads(void) {
    const std::lock_guard<std::mutex> lock(mutex);
    return loads;
}

int rknn_init(uint64_t *handle, void *data, uint32_t size, uint32_t flags, void *extend) {
    if (size == 0 || flags || extend) breach("an init that the module does not mean");
    if (const int code = step("rknn_init")) return code;
    const std::string file(static_cast<const char *>(data), size);
    if (file.find("RKNN") != 0 || file.find("double") == std::string::npos) return -6;
    if (file.find("\"" + chip + "\"") == std::string::npos) return -13;
    auto made = std::make_unique<context>();
    made->kind = model;
    made->batch = number_after(file, "batch=", 1);
    made->slow_ms = number_after(file, "slow=", 0);
    ++loads;
    *handle = add(std::move(made));
    return 0;
}

int rknn_dup_context(uint64_t *from, uint64_t *to) {
    const context &original = at(*from);
    if (const int code = step("rknn_dup_context")) return code;
    auto made = std::make_unique<context>();
    made->kind = original.kind;
    made->batch = original.batch;
    made->slow_ms = original.slow_ms;
    made->original = original.original ? original.original : *from;
    *to = add(std::move(made));
    return 0;
}

int rknn_destroy(uint64_t handle) {
    const context &of = at(handle);
    if (of.running) breach("a context destroyed while it runs");
    if (!of.memories.empty()) breach("a context destroyed before its memory");
    {
        const std::lock_guard<std::mutex> lock(mutex);
        for (const auto &each : contexts)
            if (each.second->original == handle) breach("weights destroyed before who shares them");
        contexts.erase(handle);
    }
    return step("rknn_destroy");
}

int rknn_query(uint64_t handle, int what, void *info, uint32_t size) {
    const context &of = at(handle);
    if (const int code = step("rknn_query")) return code;
    if (what == 0) {
        if (size != 8) breach("rknn_query: another size of rknn_input_output_num");
        const uint32_t found[] = {of.kind == DOUBLE_TWO ? 2U : 1U, count_outputs(of.kind)};
        std::memcpy(info, found, sizeof found);
    } else if (what == 1 || what == 2) {
        if (size != sizeof(tensor_attr)) breach("rknn_query: another size of rknn_tensor_attr");
        auto *attr = static_cast<tensor_attr *>(info);
        if (attr->index >= (what == 1 ? 1U : count_outputs(of.kind))) return -5;
        *attr = what == 1 ? input_attr(of) : output_attr(of, attr->index);
    } else if (what == 5) {
        if (size != 512) breach("rknn_query: another size of rknn_sdk_version");
        std::strcpy(static_cast<char *>(info), "1.0 (double)");
        std::strcpy(static_cast<char *>(info) + 256, "0.9.8");
    } else {
        breach("rknn_query: a command that the module does not mean");
    }
    return 0;
}

tensor_mem *rknn_create_mem(uint64_t handle, uint32_t size) {
    context &of = at(handle);
    if (step("rknn_create_mem")) return nullptr;
    auto *made = new tensor_mem{};
    made->virt_addr = std::aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    std::memset(made->virt_addr, 0xDD, size);
    made->size = size;
    const std::lock_guard<std::mutex> lock(mutex);
    of.memories[made] = true;
    ++live_memories;
    return made;
}

int rknn_destroy_mem(uint64_t handle, tensor_mem *memory) {
    context &of = at(handle);
    if (of.running) breach("memory destroyed while its context runs");
    {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!of.memories.erase(memory)) breach("memory that is not this context's");
        --live_memories;
    }
    std::free(memory->virt_addr);
    delete memory;
    return step("rknn_destroy_mem");
}

int rknn_set_io_mem(uint64_t handle, tensor_mem *memory, tensor_attr *attr) {
    context &of = at(handle);
    if (!of.memories.count(memory)) breach("memory that is not this context's");
    if (const int code = step("rknn_set_io_mem")) return code;
    if (attr->pass_through) breach("a tensor that the runtime is told not to convert");
    if (std::strcmp(attr->name, "images_u8") == 0) {
        if (attr->type != uint8 || attr->fmt != pixels) breach("an input that is not bytes, NHWC");
        if (memory->size < input_attr(of).size_with_stride) return -8;
        of.input = memory;
        return 0;
    }
    if (attr->index >= count_outputs(of.kind)) return -9;
    const uint32_t width = attr->type == float32 ? 4 : 1;
    if (attr->type == int8 && of.kind != DOUBLE_INT8) return -9;
    if (attr->type != float32 && attr->type != int8) breach("an output in a type that the module does not mean");
    if (memory->size < output_attr(of, attr->index).n_elems * width) return -9;
    of.out[attr->index] = memory;
    of.types[attr->index] = attr->type;
    return 0;
}

int rknn_set_core_mask(uint64_t handle, int mask) {
    context &of = at(handle);
    if (const int code = step("rknn_set_core_mask")) return code;
    of.cores = mask;
    return 0;
}

int rknn_run(uint64_t handle, void *extend) {
    context &of = at(handle);
    if (extend) breach("a run that the module does not mean");
    {
        const std::lock_guard<std::mutex> lock(mutex);
        if (of.running) breach("two runs of a context at once");
        of.running = true;
    }
    bool whole = of.input != nullptr;
    for (uint32_t i = 0; i < count_outputs(of.kind); ++i) whole = whole && of.out[i];
    if (!whole) breach("a run without memory for every tensor");
    const int code = step("rknn_run");
    if (of.slow_ms) std::this_thread::sleep_for(std::chrono::milliseconds(of.slow_ms));
    if (!code) compute(of);
    const std::lock_guard<std::mutex> lock(mutex);
    of.running = false;
    ++runs;
    last_cores = of.cores;
    return code;
}
}
