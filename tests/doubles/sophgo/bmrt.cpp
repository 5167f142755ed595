// SPDX-License-Identifier: Apache-2.0
// libbmrt's part of the double: a network whose outputs are a function of every pixel of their own picture.
#include "internal.h"

#include <atomic>
#include <fstream>
#include <iterator>
#include <vector>

namespace {

constexpr int side = 64, channels = 3, outputs = 6, classes = 3;
constexpr int float32 = 0, int8 = 2, uint8 = 3;
const char *const names[] = {"box_0_Conv_f32", "score_0_Conv_f32", "box_1_Conv_f32", "score_1_Conv_f32",
                             "box_2_Conv_f32", "score_2_Conv_f32", "one_more"};

std::atomic<double_model> model{DOUBLE_PLAIN};
std::atomic<int> pictures{0};

struct stage {
    bm_shape *in, *out;
    bm_memory *in_memories, *out_memories;
};

struct net_info {
    const char *name;
    bool dynamic;
    int in_count;
    const char **in_names;
    int *in_types;
    float *in_scales;
    int out_count;
    const char **out_names;
    int *out_types;
    float *out_scales;
    int stage_count;
    stage *stages;
    size_t *in_most, *out_most;
    int *in_zeros, *out_zeros, *in_devices, *out_devices;
    int cores, addresses;
};

struct runtime {
    void *handle = nullptr;
    double_model kind = DOUBLE_PLAIN;
    int networks = 0;
    const char *in_names[1] = {"images_u8"}, *out_names[outputs + 1];
    int in_types[1], out_types[outputs + 1], zeros[outputs + 1] = {};
    float scales[outputs + 1];
    bm_shape in[2], out[2][outputs + 1];
    stage stages[2];
    net_info info = {};
};

bm_shape output_shape(int index, int batch) {
    const int cells = side / 8 >> index / 2;
    return {4, {batch, index % 2 ? classes : 4, cells, cells}};
}

void describe(runtime *made) {
    const double_model kind = made->kind;
    const int first = kind == DOUBLE_BATCHLESS ? 1 : 0, count = outputs + (kind == DOUBLE_MORE);
    for (int i = 0; i < outputs + 1; ++i) {
        made->out_names[i] = kind == DOUBLE_RENAMED && i == 1 ? "another" : names[i];
        made->out_types[i] = kind == DOUBLE_INT8 ? int8 : float32;
        made->scales[i] = kind == DOUBLE_INT8 ? 0.5F : 1.0F;
    }
    made->in_types[0] = kind == DOUBLE_FLOAT ? float32 : uint8;
    for (int s = 0; s < 2; ++s) {
        const int batch = s ? 4 : 1;
        made->in[s] = kind == DOUBLE_PLANAR ? bm_shape{4, {batch, channels, side, side}}
                                            : bm_shape{4, {batch, side, side, channels}};
        for (int i = 0; i < outputs + 1; ++i) made->out[s][i] = output_shape(i, batch);
        if (kind == DOUBLE_SMALLER) made->out[s][2].dims[2] = 3;
        made->stages[s] = {&made->in[s], made->out[s], nullptr, nullptr};
    }
    made->info = {"double",
                  kind == DOUBLE_DYNAMIC,
                  1,
                  made->in_names,
                  made->in_types,
                  made->scales + outputs,
                  count,
                  made->out_names,
                  made->out_types,
                  made->scales,
                  2 - first,
                  made->stages + first,
                  nullptr,
                  nullptr,
                  made->zeros,
                  made->zeros,
                  nullptr,
                  nullptr,
                  1,
                  1};
}

// Sum over all pixels of value times place, in NHWC order.
uint32_t digest(const uint8_t *picture, bool planar) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < side * side; ++i)
        for (uint32_t c = 0; c < channels; ++c) {
            const uint32_t place = i * channels + c;
            sum += picture[planar ? c * side * side + i : place] * (place % 1021 + 1);
        }
    return sum;
}

void compute(const bm_tensor &input, const std::vector<bm_tensor> &tensors, double_model kind) {
    const int batch = input.shape.dims[0];
    constexpr unsigned int bytes = side * side * channels;
    const uint8_t *pixels = device_bytes(input.memory, bytes * static_cast<unsigned int>(batch));
    for (int picture = 0; picture < batch; ++picture) {
        const uint32_t sum = digest(pixels + picture * bytes, kind == DOUBLE_PLANAR);
        for (int t = 0; t < outputs; ++t) {
            const bm_shape &shape = tensors[t].shape;
            const int each = shape.dims[1] * shape.dims[2] * shape.dims[3];
            const unsigned int width = kind == DOUBLE_INT8 ? 1 : 4;
            uint8_t *to = device_bytes(tensors[t].memory, width * static_cast<unsigned int>(each * batch));
            for (int k = 0; k < each; ++k) {
                const int steps = static_cast<int>((sum + k * 7U + t * 13U) % 23U); // 0 to 22 halves
                const float real = t % 2 ? static_cast<float>(steps) / 2 - 9 : static_cast<float>(steps) / 2;
                const auto small = static_cast<int8_t>(real * 2);
                if (width == 1)
                    std::memcpy(to + picture * each + k, &small, 1);
                else
                    std::memcpy(to + 4 * (picture * each + k), &real, 4);
            }
        }
    }
    pictures += batch;
}

} // namespace

extern "C" {

void double_set_model(double_model kind) {
    model = kind;
}

int double_pictures(void) {
    return pictures;
}

void *bmrt_create(void *handle) {
    if (step("bmrt_create")) return nullptr;
    auto *made = new runtime;
    made->handle = handle;
    made->kind = model;
    count_runtime(1);
    return made;
}

void bmrt_destroy(void *bmrt) {
    delete static_cast<runtime *>(bmrt);
    count_runtime(-1);
    step("bmrt_destroy");
}

bool bmrt_load_bmodel(void *bmrt, const char *path) {
    if (step("bmrt_load_bmodel")) return false;
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out); // for writing too, as the vendor's
    if (!file) return false;
    const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (bytes.find("BM1688") == std::string::npos) return false; // another chip
    auto *made = static_cast<runtime *>(bmrt);
    describe(made);
    made->networks = made->kind == DOUBLE_TWO ? 2 : 1;
    return true;
}

int bmrt_get_network_number(void *bmrt) {
    return step("bmrt_get_network_number") ? 0 : static_cast<runtime *>(bmrt)->networks;
}

const char *bmrt_get_network_name(void *bmrt, int) {
    return step("bmrt_get_network_name") ? nullptr : static_cast<runtime *>(bmrt)->info.name;
}

const net_info *bmrt_get_network_info(void *bmrt, const char *name) {
    if (!name) breach("a network without a name");
    return step("bmrt_get_network_info") ? nullptr : &static_cast<runtime *>(bmrt)->info;
}

bool bmrt_launch_tensor_ex(void *bmrt, const char *, const bm_tensor *in, int in_count, bm_tensor *out, int out_count,
                           bool user_memory, bool user_mode) {
    auto *made = static_cast<runtime *>(bmrt);
    if (in_count != 1 || out_count != made->info.out_count) breach("a launch with other tensors than the network's");
    if (!user_memory || user_mode || in->dtype != uint8) breach("a launch that the module does not mean");
    bool known = false;
    for (int s = 0; s < made->info.stage_count; ++s)
        known = known || std::memcmp(&made->info.stages[s].in[0], &in->shape, sizeof in->shape) == 0;
    if (!known) breach("a launch with a shape that no stage has");
    if (step("bmrt_launch_tensor_ex")) return false;
    for (int i = 0; i < out_count; ++i) {
        out[i].shape = output_shape(i, in->shape.dims[0]);
        out[i].mode = 0;
    }
    const bm_tensor input = *in;
    enqueue([input, kind = made->kind, tensors = std::vector<bm_tensor>(out, out + out_count)] {
        compute(input, tensors, kind);
    });
    return true;
}

void bmrt_set_current_log_level(int) {}

const char *libbmrt_version(void) {
    return "libbmrt_version:1.0.0, branch:tests,commit:double ,compiled on a day.";
}
}
