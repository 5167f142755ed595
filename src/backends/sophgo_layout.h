// SPDX-License-Identifier: Apache-2.0
// The network in a .bmodel held against what the package says of it.
#pragma once

#include <algorithm>
#include <limits>

#include "sophgo_runtime.h"

namespace sophgo {

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

// The tensor's shape with another batch.
inline Shape shape_of(const yqb_tensor &tensor, uint32_t batch) {
    Shape shape;
    shape.rank = tensor.rank;
    for (int i = 0; i < tensor.rank; ++i)
        shape.dims[i] = static_cast<int>(std::min<int64_t>(tensor.dims[i], std::numeric_limits<int>::max()));
    shape.dims[0] = static_cast<int>(batch);
    return shape;
}

inline Shape planar(Shape shape) {
    std::rotate(shape.dims + 1, shape.dims + 3, shape.dims + 4); // NHWC -> NCHW
    return shape;
}

inline bool same(const Shape &a, const Shape &b) {
    return a.rank == b.rank && a.rank >= 0 && a.rank <= 8 && std::equal(a.dims, a.dims + a.rank, b.dims);
}

inline std::string shape_text(const Shape &shape) {
    std::string text = "[";
    for (int i = 0; i < std::clamp(shape.rank, 0, 8); ++i) text += (i ? "," : "") + std::to_string(shape.dims[i]);
    return text + "]";
}

[[noreturn]] inline void mismatch(const yqb_tensor &tensor, const std::string &is, const std::string &wanted) {
    throw Failure{YQB_EPACKAGE, "tensor '" + std::string(tensor.name) + "' of the model is " + is +
                                    ", the package says " + wanted + ": build the package anew"};
}

inline void check_dtype(const yqb_tensor &tensor, int dtype) {
    if (dtype != vendor_dtype(tensor.dtype))
        mismatch(tensor, dtype_name(dtype), dtype_name(vendor_dtype(tensor.dtype)));
}

// An integer tensor means something only with the scale it was compiled with.
inline void check_scale(const yqb_tensor &tensor, float scale, int zero_point) {
    if (tensor.dtype != YQB_INT8 && tensor.dtype != YQB_UINT8) return;
    const float wanted = tensor.scale == 0 ? 1 : tensor.scale;
    const bool close = scale - wanted <= 1e-5F * wanted && wanted - scale <= 1e-5F * wanted;
    if (!close || zero_point != tensor.zero_point)
        mismatch(tensor, "scaled by " + std::to_string(scale) + " from " + std::to_string(zero_point),
                 std::to_string(wanted) + " from " + std::to_string(tensor.zero_point));
}

// A batch size that the model was compiled for.
struct Plan {
    uint32_t batch = 1;
    Tensor input;
    std::vector<Tensor> outputs; // in the network's order
};

// Where the package's tensors are in the network: outputs by the package's order.
struct Layout {
    bool planar = false; // the model takes NCHW
    std::vector<int> outputs;
    std::vector<Plan> plans; // by batch, the package's last

    // The smallest that holds `count` pictures, at most the package's batch.
    const Plan &plan_for(uint32_t count) const {
        return *std::find_if(plans.begin(), plans.end(), [=](const Plan &plan) { return plan.batch >= count; });
    }
};

inline int find_output(const Network &network, const yqb_tensor &tensor) {
    std::string names;
    for (int i = 0; i < network.output_count; ++i) {
        if (std::strcmp(network.output_names[i], tensor.name) == 0) return i;
        names += std::string(i ? ", " : "") + network.output_names[i];
    }
    throw Failure{YQB_EPACKAGE, "the model has no output '" + std::string(tensor.name) + "'; it has " + names +
                                    ": build the package anew"};
}

// What a stage is for: its batch if all its shapes are the package's at that batch, else 0.
inline uint32_t stage_batch(const Stage &stage, const Layout &layout, const yqb_config &config) {
    const int batch = stage.inputs[0].dims[0];
    if (batch < 1 || static_cast<uint32_t>(batch) > config.batch) return 0;
    const Shape input = shape_of(*config.input, static_cast<uint32_t>(batch));
    if (!same(stage.inputs[0], layout.planar ? planar(input) : input)) return 0;
    for (uint32_t i = 0; i < config.output_count; ++i)
        if (!same(stage.outputs[layout.outputs[i]], shape_of(config.outputs[i], static_cast<uint32_t>(batch))))
            return 0;
    return static_cast<uint32_t>(batch);
}

// Says what differs: of the stage with the package's batch its first wrong tensor, else the batch.
[[noreturn]] inline void refuse_shapes(const Network &network, const Layout &layout, const yqb_config &config) {
    const Stage *const end = network.stages + network.stage_count;
    const Stage *stage = std::find_if(network.stages, end, [&](const Stage &each) {
        return each.inputs[0].dims[0] == static_cast<int>(config.batch);
    });
    for (uint32_t i = 0; stage != end && i < config.output_count; ++i) {
        const Shape &is = stage->outputs[layout.outputs[i]], wanted = shape_of(config.outputs[i], config.batch);
        if (!same(is, wanted)) mismatch(config.outputs[i], shape_text(is), shape_text(wanted));
    }
    const Stage &shown = stage == end ? end[-1] : *stage;
    mismatch(*config.input, shape_text(shown.inputs[0]), shape_text(shape_of(*config.input, config.batch)));
}

inline Plan make_plan(const Stage &stage, uint32_t batch, const Layout &layout, const yqb_config &config) {
    Plan plan;
    plan.batch = batch;
    plan.input.dtype = uint8;
    plan.input.shape = stage.inputs[0];
    plan.outputs.resize(config.output_count);
    for (uint32_t i = 0; i < config.output_count; ++i) {
        Tensor &tensor = plan.outputs[layout.outputs[i]]; // the network's order, as launch wants it
        tensor.dtype = vendor_dtype(config.outputs[i].dtype);
        tensor.shape = stage.outputs[layout.outputs[i]];
    }
    return plan;
}

// Holds the network against the package; throws where they differ.
inline Layout match(const Network &network, const yqb_config &config) {
    if (network.input_count != 1 || network.stage_count < 1)
        throw Failure{YQB_EPACKAGE,
                      "the model must have one input, uint8; it has " + std::to_string(network.input_count)};
    if (std::strcmp(network.input_names[0], config.input->name) != 0)
        throw Failure{YQB_EPACKAGE, "the model has no input '" + std::string(config.input->name) + "', it has '" +
                                        network.input_names[0] + "': build the package anew"};
    check_dtype(*config.input, network.input_dtypes[0]);
    Layout layout;
    for (uint32_t i = 0; i < config.output_count; ++i) {
        const yqb_tensor &tensor = config.outputs[i];
        const int index = find_output(network, tensor);
        check_dtype(tensor, network.output_dtypes[index]);
        check_scale(tensor, network.output_scales[index], network.output_zero_points[index]);
        if (std::find(layout.outputs.begin(), layout.outputs.end(), index) != layout.outputs.end())
            throw Failure{YQB_EPACKAGE, "the package names the output '" + std::string(tensor.name) + "' twice"};
        layout.outputs.push_back(index);
    }
    if (network.output_count != static_cast<int>(config.output_count))
        throw Failure{YQB_EPACKAGE, "the model has " + std::to_string(network.output_count) +
                                        " outputs, the package names " + std::to_string(config.output_count)};
    const Shape &first = network.stages[0].inputs[0];
    const Shape image = shape_of(*config.input, static_cast<uint32_t>(std::max(first.dims[0], 1)));
    layout.planar = !same(first, image) && same(first, planar(image));
    for (int i = 0; i < network.stage_count; ++i)
        if (const uint32_t batch = stage_batch(network.stages[i], layout, config))
            layout.plans.push_back(make_plan(network.stages[i], batch, layout, config));
    std::sort(layout.plans.begin(), layout.plans.end(), [](const Plan &a, const Plan &b) { return a.batch < b.batch; });
    if (layout.plans.empty() || layout.plans.back().batch != config.batch) refuse_shapes(network, layout, config);
    return layout;
}

} // namespace sophgo
