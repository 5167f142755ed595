// SPDX-License-Identifier: Apache-2.0
// Stored elements of output tensors: their real values, and keys that compare as the real values do.
#pragma once

#include <cstdint>
#include <cstring>

#include "decode_plan.h"

namespace yq {

// IEEE 754 binary16, as stored.
struct Half {
    uint16_t bits;
};

inline float half_to_float(Half half) {
    const uint32_t magnitude = half.bits & 0x7fffu;
    uint32_t bits;
    float value;
    if (magnitude >= 0x7c00u) {
        bits = 0x7f800000u | magnitude << 13; // infinite or NaN
    } else if (magnitude >= 0x0400u) {
        bits = (magnitude << 13) + (112u << 23);
    } else {
        value = static_cast<float>(magnitude) * 0x1p-24f; // subnormal or 0
        std::memcpy(&bits, &value, sizeof bits);
    }
    bits |= (half.bits & 0x8000u) << 16;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// The real value of a stored element. One definition for all layouts, so that all give the same bits.
inline float real(const ChannelView &, float stored) {
    return stored;
}
inline float real(const ChannelView &, Half stored) {
    return half_to_float(stored);
}
inline float real(const ChannelView &view, int8_t stored) {
    return static_cast<float>(stored - view.zero_point) * view.scale;
}
inline float real(const ChannelView &view, uint8_t stored) {
    return static_cast<float>(stored - view.zero_point) * view.scale;
}

// Keys: key(a) < key(b) wherever real(a) < real(b). NaN is below everything for float, at either end for Half.
inline float key(float stored) {
    return stored;
}
inline int8_t key(int8_t stored) {
    return stored;
}
inline uint8_t key(uint8_t stored) {
    return stored;
}
inline int16_t key(Half stored) { // negative numbers count backwards
    const auto bits = static_cast<int16_t>(stored.bits);
    return static_cast<int16_t>(bits ^ ((bits >> 15) & 0x7fff));
}

// The smallest key whose real value is at least `floor`; false if no element can reach it.
inline bool lowest_key(const ChannelView &, float floor, float *out) {
    *out = floor;
    return true;
}

template <class Key, class RealOfKey>
bool search_key(int32_t low, int32_t high, float floor, RealOfKey real_of, Key *out) {
    if (!(real_of(static_cast<Key>(high)) >= floor)) return false;
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        if (real_of(static_cast<Key>(middle)) >= floor) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    *out = static_cast<Key>(high);
    return true;
}

inline bool lowest_key(const ChannelView &view, float floor, int8_t *out) {
    return search_key(
        -128, 127, floor, [&](int8_t key) { return real(view, key); }, out);
}
inline bool lowest_key(const ChannelView &view, float floor, uint8_t *out) {
    return search_key(
        0, 255, floor, [&](uint8_t key) { return real(view, key); }, out);
}
inline bool lowest_key(const ChannelView &view, float floor, int16_t *out) {
    const auto real_of = [&](int16_t key) {
        return real(view, Half{static_cast<uint16_t>(key ^ ((key >> 15) & 0x7fff))});
    };
    return search_key(-0x7c01, 0x7c00, floor, real_of, out); // minus to plus infinity
}

// The real value of channel `channel` of cell `cell`; `data` is the picture's part of the view's tensor.
inline float load(const ChannelView &view, const void *data, size_t cell, size_t channel) {
    const size_t index = view.first + cell * view.cell_step + channel * view.channel_step;
    switch (view.dtype) {
    case DType::float32: return real(view, static_cast<const float *>(data)[index]);
    case DType::float16: return real(view, static_cast<const Half *>(data)[index]);
    case DType::int8: return real(view, static_cast<const int8_t *>(data)[index]);
    default: return real(view, static_cast<const uint8_t *>(data)[index]);
    }
}

} // namespace yq
