// SPDX-License-Identifier: Apache-2.0
// Raw head tensors for the dummy backend, from nothing but a picture's hash.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "module.h"

namespace dummy {

// Real values. As a logit or as a probability, a candidate's score (0.5 to 0.99) passes usual thresholds and kNone does
// not. kReach makes boxes some cells wide in every box form: neighbours overlap by an IoU of about 0.7.
constexpr float kNone = -8.0f, kReach = 3.2f;

inline uint64_t mix(uint64_t value) { // a full-avalanche mixer (the finaliser of SplitMix64)
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
    return value ^ (value >> 31);
}

// From 0 to 1, by the picture and a place in it.
inline float noise(uint64_t hash, uint64_t place) {
    return static_cast<float>(mix(hash + 0x9E3779B97F4A7C15u * (place + 1)) >> 40) * (1.0f / 16777216.0f);
}

// Of 4096 bytes spread over the picture, and its last one.
inline uint64_t hash_picture(const uint8_t *pixels, uint64_t bytes) {
    const uint64_t step = bytes / 4096 + 1;
    uint64_t hash = mix(bytes) ^ pixels[bytes - 1];
    for (uint64_t i = 0; i < bytes; i += step) hash = (hash ^ pixels[i]) * 0x100000001B3u;
    return mix(hash);
}

inline uint16_t to_half(float value) { // round to nearest; out of range becomes 0 or the largest half
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
    const int32_t rounded = static_cast<int32_t>((bits & 0x7FFFFFFFu) + 0x1000u) - (112 << 23);
    if (rounded < (1 << 23)) return sign;
    return static_cast<uint16_t>(sign | std::min(rounded >> 13, 0x7BFF));
}

// An output and how its elements are laid out: channels in one axis, cells in the others.
struct Head {
    int32_t role, dtype, zero_point;
    float scale;
    uint64_t channels = 1, cells = 1, inner = 1; // per picture; inner: elements after the channel axis
    uint64_t elements = 1;                       // per picture
    uint64_t candidates = 0;                     // per picture: scores, cells or rows, by role
    bool pixels = false;                         // boxes are decoded already, in input pixels

    uint64_t index(uint64_t channel, uint64_t cell) const {
        return (cell / inner * channels + channel) * inner + cell % inner;
    }
};

// The package does not tell modules the channel axis: it is the one that leaves a grid of the input's proportions, or
// of two axes the shorter.
inline int32_t channel_axis(const yqb_tensor &tensor, const yqb_tensor &input) {
    const int32_t last = tensor.rank - 1;
    if (tensor.rank <= 2 || tensor.role == YQB_ROLE_END2END) return last;
    if (tensor.rank == 3) return tensor.dims[1] <= tensor.dims[2] ? 1 : 2;
    const bool grid_last = tensor.dims[last - 1] * input.dims[2] == tensor.dims[last] * input.dims[1];
    return grid_last ? last - 2 : last;
}

inline Head describe(const yqb_tensor &tensor, const yqb_config &config) {
    if (tensor.role < YQB_ROLE_INPUT || tensor.role > YQB_ROLE_END2END)
        throw yqb::Failure{YQB_EINVAL, "tensor '" + std::string(tensor.name) + "' has an unknown role"};
    Head head{tensor.role, tensor.dtype, tensor.zero_point, tensor.scale};
    const int32_t axis = channel_axis(tensor, *config.input);
    head.elements = yqb::element_count(tensor) / config.batch;
    if (axis > 0) head.channels = static_cast<uint64_t>(tensor.dims[axis]);
    for (int32_t i = axis + 1; i < tensor.rank; ++i) head.inner *= static_cast<uint64_t>(tensor.dims[i]);
    head.cells = head.elements / head.channels;
    bool levels = false;
    for (uint32_t i = 0; i < config.output_count; ++i) levels = levels || config.outputs[i].level > 0;
    const bool boxes = tensor.role == YQB_ROLE_COMBINED || (tensor.role == YQB_ROLE_BOX && head.channels == 4);
    head.pixels = boxes && tensor.rank == 3 && !levels;
    if (tensor.role == YQB_ROLE_END2END && head.channels != 6)
        throw yqb::Failure{YQB_EPACKAGE, "tensor '" + std::string(tensor.name) + "' must have rows of 6"};
    return head;
}

inline uint64_t capacity(const Head &head) {
    if (head.role == YQB_ROLE_SCORE) return head.elements;
    return head.role == YQB_ROLE_COMBINED || head.role == YQB_ROLE_END2END ? head.cells : 0;
}

// Shares the candidates out, from the last level (the smallest) to the first, so that none is left over.
inline void share_candidates(std::vector<Head> &heads, uint64_t wanted) {
    uint64_t takers = 0;
    for (const Head &head : heads) takers += capacity(head) > 0;
    for (size_t i = heads.size(); i-- > 0;) {
        if (capacity(heads[i]) == 0) continue;
        heads[i].candidates = std::min(capacity(heads[i]), (wanted + takers - 1) / takers);
        wanted -= std::min(wanted, heads[i].candidates);
        --takers;
    }
}

inline void store(const Head &head, uint8_t *data, uint64_t index, float value) {
    if (head.dtype == YQB_FLOAT32) {
        std::memcpy(data + index * 4, &value, 4);
    } else if (head.dtype == YQB_FLOAT16) {
        const uint16_t half = to_half(value);
        std::memcpy(data + index * 2, &half, 2);
    } else {
        const bool is_signed = head.dtype == YQB_INT8;
        const float raw =
            std::nearbyint(head.scale > 0 ? value / head.scale : value) + static_cast<float>(head.zero_point);
        const float low = is_signed ? -128.0f : 0.0f, high = is_signed ? 127.0f : 255.0f;
        data[index] = static_cast<uint8_t>(static_cast<int32_t>(std::min(std::max(raw, low), high)));
    }
}

// Boxes around one place; read as corners or as centre and size, both are boxes in the input.
inline void pixel_box(uint64_t hash, uint64_t place, const yqb_tensor &input, float box[4]) {
    const float height = static_cast<float>(input.dims[1]), width = static_cast<float>(input.dims[2]);
    box[0] = width * (0.2f + 0.1f * noise(hash, 4 * place));
    box[1] = height * (0.2f + 0.1f * noise(hash, 4 * place + 1));
    box[2] = width * (0.6f + 0.1f * noise(hash, 4 * place + 2));
    box[3] = height * (0.6f + 0.1f * noise(hash, 4 * place + 3));
}

// What no picture changes: boxes, and all that is not a candidate.
inline void prepare(const Head &head, const yqb_tensor &input, uint8_t *data) {
    for (uint64_t cell = 0; cell < head.cells; ++cell) {
        float box[4];
        pixel_box(0, cell, input, box);
        for (uint64_t channel = 0; channel < head.channels; ++channel) {
            float value = 0.0f; // end-to-end rows, and tensors of no head
            if (head.role == YQB_ROLE_SCORE || head.role == YQB_ROLE_COMBINED) value = kNone;
            if (head.role == YQB_ROLE_OBJECTNESS) value = 0.99f;
            if (head.role == YQB_ROLE_BOX)
                value = head.pixels ? box[channel] : kReach + 0.2f * (noise(channel, cell) - 0.5f);
            store(head, data, head.index(channel, cell), value);
        }
    }
}

// Runs of neighbouring cells, a class after the other.
inline void draw_scores(const Head &head, uint64_t hash, uint8_t *data) {
    const uint64_t run = (head.candidates + head.channels - 1) / head.channels;
    for (uint64_t i = 0; i < head.candidates; ++i) {
        const uint64_t channel = i / run, first = channel * 37 % (head.cells - run + 1);
        store(head, data, head.index(channel, first + i % run), 0.5f + 0.49f * noise(hash, i));
    }
}

// Whatever follows the box (objectness, classes, further anchors) is high in a candidate's cell.
inline void draw_combined(const Head &head, uint64_t hash, const yqb_tensor &input, uint8_t *data) {
    for (uint64_t cell = 0; cell < head.candidates; ++cell) {
        float box[4] = {kReach, kReach, kReach, kReach};
        if (head.pixels) pixel_box(hash, cell, input, box);
        for (uint64_t channel = 0; channel < head.channels; ++channel)
            store(head, data, head.index(channel, cell),
                  channel < 4 ? box[channel] : 0.5f + 0.49f * noise(hash, cell * head.channels + channel));
    }
}

inline void draw_rows(const Head &head, uint64_t hash, const yqb_tensor &input, uint8_t *data) { // best score first
    for (uint64_t row = 0; row < head.candidates; ++row) {
        float values[6];
        pixel_box(hash, row, input, values);
        values[4] =
            0.99f - 0.49f * (static_cast<float>(row) + noise(hash, row)) / static_cast<float>(head.candidates + 1);
        values[5] = 0.0f;
        for (uint64_t i = 0; i < 6; ++i) store(head, data, row * 6 + i, values[i]);
    }
}

// Draws one picture's part of an output that prepare() has filled.
inline void draw(const Head &head, uint64_t hash, const yqb_tensor &input, uint8_t *data) {
    if (head.role == YQB_ROLE_SCORE) draw_scores(head, hash, data);
    if (head.role == YQB_ROLE_COMBINED) draw_combined(head, hash, input, data);
    if (head.role == YQB_ROLE_END2END) draw_rows(head, hash, input, data);
}

} // namespace dummy
