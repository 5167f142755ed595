// SPDX-License-Identifier: Apache-2.0
// What our own backend modules share: error texts, checks of a config, aligned buffers. Header only, so that a module
// still links nothing but its SDK.
#pragma once

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "yoloq_backend.h"

// Lets the compiler check printf arguments: `text` is the format's parameter, `values` the first value's.
#if defined(__MINGW32__)
#define YQB_PRINTF(text, values) __attribute__((format(gnu_printf, text, values)))
#elif defined(__GNUC__)
#define YQB_PRINTF(text, values) __attribute__((format(printf, text, values)))
#else
#define YQB_PRINTF(text, values)
#endif

namespace yqb {

constexpr size_t kAlignment = 64; // of every tensor: a cache line, and the widest vector register

// A failure on its way to the table's edge, where guarded() turns it into a status and a text.
struct Failure {
    int32_t status;
    std::string text;
};

// Blanks instead of control characters; a character that the cut left incomplete goes.
inline void one_line(char *text) {
    size_t length = std::strlen(text);
    for (size_t i = 0; i < length; ++i)
        if (static_cast<unsigned char>(text[i]) < 0x20 || text[i] == 0x7F) text[i] = ' ';
    size_t tail = 0; // continuation bytes at the end
    while (tail < length && tail < 3 && (static_cast<unsigned char>(text[length - 1 - tail]) & 0xC0) == 0x80) ++tail;
    if (tail < length) {
        const unsigned char lead = static_cast<unsigned char>(text[length - 1 - tail]);
        const size_t follow = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
        if (tail < follow) length -= tail + 1;
    }
    while (length > 0 && text[length - 1] == ' ') --length;
    text[length] = '\0';
}

// Writes the reason and returns `status`. Allocates nothing.
YQB_PRINTF(3, 4)
inline int32_t report(yqb_error *error, int32_t status, const char *format, ...) {
    if (!error) return status;
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    one_line(error->text);
    return status;
}

// Runs body; whatever it throws becomes a status.
template <typename Body> int32_t guarded(yqb_error *error, Body body) noexcept {
    try {
        body();
        return YQB_OK;
    } catch (const Failure &failure) {
        return report(error, failure.status, "%s", failure.text.c_str());
    } catch (const std::bad_alloc &) {
        return report(error, YQB_ENOMEM, "out of memory");
    } catch (const std::exception &exception) {
        return report(error, YQB_EBACKEND, "%s", exception.what());
    } catch (...) { return report(error, YQB_EBACKEND, "an exception of unknown type"); }
}

// Bytes of an element; 0 for a number that is no yqb_dtype.
inline uint64_t element_bytes(int32_t dtype) {
    switch (dtype) {
    case YQB_UINT8:
    case YQB_INT8: return 1;
    case YQB_FLOAT16: return 2;
    case YQB_FLOAT32: return 4;
    default: return 0;
    }
}

inline uint64_t element_count(const yqb_tensor &tensor) {
    uint64_t count = 1;
    for (int32_t i = 0; i < tensor.rank; ++i) count *= static_cast<uint64_t>(tensor.dims[i]);
    return count;
}

inline uint64_t tensor_bytes(const yqb_tensor &tensor) {
    return element_count(tensor) * element_bytes(tensor.dtype);
}

// Throws if a tensor's description cannot be used: names, type, rank, sizes (at most 2^40 elements).
inline void check_tensor(const yqb_tensor &tensor, uint32_t batch) {
    if (!tensor.name) throw Failure{YQB_EINVAL, "a tensor has no name"};
    const std::string name = "tensor '" + std::string(tensor.name) + "'";
    if (element_bytes(tensor.dtype) == 0) throw Failure{YQB_EINVAL, name + " has an unknown element type"};
    if (tensor.rank < 1 || tensor.rank > 6) throw Failure{YQB_EINVAL, name + " must have 1 to 6 dimensions"};
    uint64_t count = 1;
    for (int32_t i = 0; i < tensor.rank; ++i) {
        if (tensor.dims[i] < 1 || static_cast<uint64_t>(tensor.dims[i]) > (uint64_t{1} << 40) / count)
            throw Failure{YQB_EINVAL, name + " has an impossible size"};
        count *= static_cast<uint64_t>(tensor.dims[i]);
    }
    if (tensor.dims[0] != static_cast<int64_t>(batch))
        throw Failure{YQB_EPACKAGE, name + " must have the batch, " + std::to_string(batch) + ", as its first size"};
}

// Throws if the config is one that no backend can serve.
inline void check_config(const yqb_config *config) {
    if (!config || config->size < sizeof(yqb_config))
        throw Failure{YQB_EINVAL, "the config is missing or shorter than this module's: update the yoloq library"};
    if (!config->artifact || !config->device || !config->input || (config->output_count && !config->outputs))
        throw Failure{YQB_EINVAL, "the config lacks the artefact, the device or the tensors"};
    if (config->slots < 1 || config->batch < 1 || config->output_count < 1)
        throw Failure{YQB_EINVAL, "slots, batch and outputs must be 1 or more"};
    if (config->hint < 0 || config->hint > 2) throw Failure{YQB_EINVAL, "hint must be 0, 1 or 2"};
    check_tensor(*config->input, config->batch);
    if (config->input->dtype != YQB_UINT8 || config->input->rank != 4)
        throw Failure{YQB_EPACKAGE, "the input must be uint8 NHWC"};
    for (uint32_t i = 0; i < config->output_count; ++i) check_tensor(config->outputs[i], config->batch);
}

// A decimal number from `low` to `high`; throws, naming the option, if the text is anything else.
inline uint64_t parse_number(const std::string &key, const std::string &text, uint64_t low, uint64_t high) {
    const bool digits = !text.empty() && text.size() <= 18 && text.find_first_not_of("0123456789") == std::string::npos;
    const uint64_t value = digits ? std::stoull(text) : 0;
    if (!digits || value < low || value > high)
        throw Failure{YQB_EINVAL, "option " + key + " must be a whole number from " + std::to_string(low) + " to " +
                                      std::to_string(high) + ", not '" + text + "'"};
    return value;
}

struct FreeAligned {
    void operator()(uint8_t *memory) const { ::operator delete(memory, std::align_val_t(kAlignment)); }
};

// Zeroed memory on a kAlignment boundary.
struct Buffer {
    explicit Buffer(uint64_t size)
        : bytes(size), data(static_cast<uint8_t *>(::operator new(size, std::align_val_t(kAlignment)))) {
        std::memset(data.get(), 0, bytes);
    }
    uint64_t bytes;
    std::unique_ptr<uint8_t, FreeAligned> data;
};

} // namespace yqb
