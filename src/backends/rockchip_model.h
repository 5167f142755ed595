// SPDX-License-Identifier: Apache-2.0
// An .rknn as a file: whole, and for which chip; and the tensors that the runtime finds in it, held against the
// package.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <vector>

#include "rockchip_runtime.h"

namespace rockchip {

// A whole .rknn. What is known of the file was found by looking at what the compiler 2.5.0 writes: "RKNN", a version,
// and at 16 the length of what lies between 64 bytes of head and, after 8 bytes of its length, a JSON that names the
// chip.
class ModelFile {
public:
    explicit ModelFile(const char *artifact) {
        const std::filesystem::path path = std::filesystem::u8path(artifact);
        std::error_code ignored;
        if (!std::filesystem::is_regular_file(path, ignored))
            throw Failure{YQB_ENOTFOUND, std::string("there is no file ") + artifact};
        std::ifstream file(path, std::ios::binary);
        bytes_.resize(std::filesystem::file_size(path));
        file.read(bytes_.data(), static_cast<std::streamsize>(bytes_.size()));
        if (!file) throw Failure{YQB_ENOTFOUND, std::string("cannot read ") + artifact};
        if (bytes_.size() < kHead || bytes_.size() > UINT32_MAX || bytes_.compare(0, 4, "RKNN") != 0)
            throw Failure{YQB_EPACKAGE, std::string("no .rknn: ") + artifact + ": build the package anew"};
        const uint64_t body = number(16);
        uint64_t wanted = body > UINT32_MAX ? body : kHead + body + 8;
        if (wanted <= bytes_.size()) {
            const uint64_t about = number(kHead + body);
            wanted = about > UINT32_MAX ? about : wanted + about;
        }
        if (wanted > bytes_.size())
            throw Failure{YQB_EPACKAGE, "cut short, " + std::to_string(bytes_.size()) + " bytes of " +
                                            std::to_string(wanted) + ": " + artifact + ": copy the package anew"};
        find_chip(bytes_.substr(kHead + body + 8));
    }

    const std::string &chip() const { return chip_; } // such as "rk3588"; "" if the file does not say
    void *data() { return bytes_.data(); }
    uint32_t size() const { return static_cast<uint32_t>(bytes_.size()); }

private:
    static constexpr uint64_t kHead = 64;

    uint64_t number(uint64_t offset) const {
        uint64_t value = 0;
        std::memcpy(&value, bytes_.data() + offset, sizeof value);
        return value;
    }

    void find_chip(const std::string &about) {
        const std::string key = "\"target_platform\":[\"";
        const size_t begin = about.find(key);
        if (begin == std::string::npos) return;
        const size_t first = begin + key.size();
        chip_ = about.substr(first, about.find('"', first) - first).substr(0, 32);
    }

    std::string bytes_, chip_;
};

inline const char *dtype_name(int dtype) {
    static const char *const names[] = {"float32", "float16", "int8", "uint8"};
    return dtype >= 0 && dtype < 4 ? names[dtype] : "another type";
}

inline int vendor_dtype(int32_t dtype) {
    switch (dtype) {
    case YQB_UINT8: return uint8;
    case YQB_INT8: return int8;
    case YQB_FLOAT16: return float16;
    default: return float32;
    }
}

inline std::string shape_text(const std::vector<int64_t> &shape) {
    std::string text = "[";
    for (size_t i = 0; i < shape.size(); ++i) text += (i ? "," : "") + std::to_string(shape[i]);
    return text + "]";
}

inline std::vector<int64_t> shape_of(const yqb_tensor &tensor) {
    return {tensor.dims, tensor.dims + tensor.rank};
}

inline std::vector<int64_t> shape_of(const Attribute &attribute) {
    return {attribute.dims, attribute.dims + std::min(attribute.rank, kMaxDims)};
}

[[noreturn]] inline void mismatch(const yqb_tensor &tensor, const std::string &is, const std::string &wanted) {
    throw Failure{YQB_EPACKAGE, "tensor '" + std::string(tensor.name) + "' of the model is " + is +
                                    ", the package says " + wanted + ": build the package anew"};
}

inline bool named(const Attribute &attribute, const char *name) {
    return std::strncmp(attribute.name, name, kMaxName - 1) == 0;
}

inline Attribute read_attribute(const Runtime &runtime, Context context, Query query, uint32_t index) {
    Attribute attribute;
    attribute.index = index;
    check("rknn_query", runtime.rknn_query(context, query, &attribute, sizeof attribute));
    attribute.name[kMaxName - 1] = '\0';
    return attribute;
}

// The input's attribute as rknn_set_io_mem wants it: bytes, NHWC.
inline Attribute match_input(const Runtime &runtime, Context context, const yqb_config &config) {
    const yqb_tensor &tensor = *config.input;
    Attribute found = read_attribute(runtime, context, input_attribute, 0);
    if (!named(found, tensor.name))
        throw Failure{YQB_EPACKAGE, "the model has no input '" + std::string(tensor.name) + "', it has '" + found.name +
                                        "': build the package anew"};
    std::vector<int64_t> shape = shape_of(found), wanted = shape_of(tensor);
    if (found.format == nchw && shape.size() == 4) std::rotate(shape.begin() + 1, shape.begin() + 2, shape.end());
    if (shape != wanted) mismatch(tensor, shape_text(shape), shape_text(wanted));
    const uint32_t width = static_cast<uint32_t>(wanted[2]);
    if (found.row_stride < width) found.row_stride = width;
    found.format = nhwc;
    found.dtype = uint8;
    found.pass_through = 0;
    found.bytes = static_cast<uint32_t>(yqb::tensor_bytes(tensor));
    found.bytes_with_stride = found.bytes / width * found.row_stride;
    return found;
}

// An output's attribute as rknn_set_io_mem wants it: in the package's type, dense. Integers mean something only with
// the scale that the model has.
inline Attribute match_output(const Attribute &attribute, const yqb_tensor &tensor) {
    Attribute found = attribute;
    if (shape_of(found) != shape_of(tensor))
        mismatch(tensor, shape_text(shape_of(found)), shape_text(shape_of(tensor)));
    if (tensor.dtype == YQB_INT8 || tensor.dtype == YQB_UINT8) {
        if (found.dtype != vendor_dtype(tensor.dtype))
            mismatch(tensor, dtype_name(found.dtype), dtype_name(vendor_dtype(tensor.dtype)));
        const float wanted = tensor.scale == 0 ? 1 : tensor.scale;
        const float scale = found.quantisation == affine ? found.scale : 1;
        const int zero_point = found.quantisation == affine ? found.zero_point : 0;
        const bool close = scale - wanted <= 1e-5F * wanted && wanted - scale <= 1e-5F * wanted;
        if (!close || zero_point != tensor.zero_point)
            mismatch(tensor, "scaled by " + std::to_string(scale) + " from " + std::to_string(zero_point),
                     std::to_string(wanted) + " from " + std::to_string(tensor.zero_point));
    }
    found.dtype = vendor_dtype(tensor.dtype);
    found.pass_through = 0;
    found.bytes = found.bytes_with_stride = static_cast<uint32_t>(yqb::tensor_bytes(tensor));
    return found;
}

// The model's outputs in the package's order.
inline std::vector<Attribute> match_outputs(const Runtime &runtime, Context context, const yqb_config &config) {
    Counts found;
    check("rknn_query", runtime.rknn_query(context, counts, &found, sizeof found));
    if (found.inputs != 1)
        throw Failure{YQB_EPACKAGE, "the model must have one input; it has " + std::to_string(found.inputs)};
    std::vector<Attribute> all, matched;
    std::string names;
    for (uint32_t i = 0; i < found.outputs; ++i) {
        all.push_back(read_attribute(runtime, context, output_attribute, i));
        names += std::string(i ? ", " : "") + all.back().name;
    }
    for (uint32_t i = 0; i < config.output_count; ++i) {
        const yqb_tensor &tensor = config.outputs[i];
        const auto it = std::find_if(all.begin(), all.end(), [&](const Attribute &a) { return named(a, tensor.name); });
        if (it == all.end())
            throw Failure{YQB_EPACKAGE, "the model has no output '" + std::string(tensor.name) + "'; it has " + names +
                                            ": build the package anew"};
        matched.push_back(match_output(*it, tensor));
    }
    if (found.outputs != config.output_count)
        throw Failure{YQB_EPACKAGE, "the model has " + std::to_string(found.outputs) + " outputs, the package names " +
                                        std::to_string(config.output_count)};
    return matched;
}

} // namespace rockchip
