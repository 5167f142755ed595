// SPDX-License-Identifier: Apache-2.0
// A compiled model (.om) on the device, and what it says of itself held against what the package says. Everything here
// happens in one thread with one context: AscendCL wants a model loaded, run and unloaded in the same.
#pragma once

#include <algorithm>
#include <filesystem>

#include "ascend_runtime.h"

namespace ascend {

// A file of the package, for a batch size.
struct ModelFile {
    std::string path;
    uint32_t batch;
};

// The package's models, smallest batch first; throws if one is not there.
inline std::vector<ModelFile> model_files(const yqb_config &config) {
    std::vector<ModelFile> files;
    for (uint32_t i = 0; i < config.artifact_count; ++i)
        files.push_back({config.artifacts[i].path, config.artifacts[i].batch});
    if (files.empty()) files.push_back({config.artifact, config.batch});
    for (const ModelFile &file : files) {
        std::error_code ignored;
        if (!std::filesystem::is_regular_file(std::filesystem::u8path(file.path), ignored))
            throw Failure{YQB_ENOTFOUND, "there is no file " + file.path};
    }
    return files;
}

inline const char *type_name(int type) {
    switch (type) {
    case type_float32: return "float32";
    case type_float16: return "float16";
    case type_int8: return "int8";
    case type_uint8: return "uint8";
    default: return "another type";
    }
}

inline int vendor_type(int32_t dtype) {
    switch (dtype) {
    case YQB_UINT8: return type_uint8;
    case YQB_INT8: return type_int8;
    case YQB_FLOAT16: return type_float16;
    default: return type_float32;
    }
}

inline std::string shape_text(const int64_t *dims, size_t rank) {
    std::string text = "[";
    for (size_t i = 0; i < std::min<size_t>(rank, 128); ++i) text += (i ? "," : "") + std::to_string(dims[i]);
    return text + "]";
}

// The tensor of the package at another batch size.
inline yqb_tensor at_batch(const yqb_tensor &tensor, uint32_t batch) {
    yqb_tensor other = tensor;
    other.dims[0] = batch;
    return other;
}

[[noreturn]] inline void mismatch(const yqb_tensor &tensor, const std::string &is, const std::string &wanted) {
    throw Failure{YQB_EPACKAGE, "tensor '" + std::string(tensor.name) + "' of the model is " + is +
                                    ", the package says " + wanted + ": build the package anew"};
}

inline void check_shape(const yqb_tensor &tensor, const IODims &is) {
    const auto rank = static_cast<size_t>(tensor.rank);
    if (is.rank != rank || !std::equal(tensor.dims, tensor.dims + rank, is.dims))
        mismatch(tensor, shape_text(is.dims, is.rank), shape_text(tensor.dims, rank));
}

inline void check_type(const yqb_tensor &tensor, int is) {
    const int wanted = vendor_type(tensor.dtype);
    if (is != wanted) mismatch(tensor, type_name(is), type_name(wanted));
}

// The runtime keeps padding behind some tensors, but cannot have less than the tensor.
inline size_t checked_size(const yqb_tensor &tensor, size_t size) {
    const uint64_t wanted = yqb::tensor_bytes(tensor);
    if (size < wanted) mismatch(tensor, std::to_string(size) + " bytes long", std::to_string(wanted) + " bytes long");
    return size;
}

// A loaded model. Its datasets name memory that is made after it and freed before it.
class Model {
public:
    Model(const Runtime &runtime, const ModelFile &file, const std::string &wrong_chip)
        : runtime_(runtime), file_(file) {
        load(wrong_chip);
        try {
            desc_ = runtime.aclmdlCreateDesc();
            if (!desc_) throw Failure{YQB_ENOMEM, "aclmdlCreateDesc gave nothing: the host is out of memory"};
            ASCEND_TRY(runtime, aclmdlGetDesc(desc_, id_));
        } catch (...) {
            end();
            throw;
        }
    }
    ~Model() { end(); }
    Model(const Model &) = delete;
    Model &operator=(const Model &) = delete;

    uint32_t id() const { return id_; }
    uint32_t batch() const { return file_.batch; }
    size_t input_size() const { return input_size_; }
    size_t output_size(size_t index) const { return output_sizes_[index]; } // by the package's order
    const Dataset *input() const { return input_.set; }
    Dataset *output() const { return output_.set; }

    // Holds the model against the package; throws where they differ.
    void match(const yqb_config &config) {
        match_input(at_batch(*config.input, batch()));
        const size_t count = runtime_.aclmdlGetNumOutputs(desc_);
        for (uint32_t i = 0; i < config.output_count; ++i) match_output(at_batch(config.outputs[i], batch()), count);
        if (count != config.output_count)
            throw Failure{YQB_EPACKAGE, "the model has " + std::to_string(count) + " outputs, the package names " +
                                            std::to_string(config.output_count) + ": build the package anew"};
    }

    // Names the device memory that runs use; outputs by the package's order.
    void bind(void *input, const std::vector<void *> &outputs) {
        input_.open(runtime_);
        input_.add(runtime_, input, input_size_);
        output_.open(runtime_);
        for (size_t at = 0; at < outputs.size(); ++at) { // the model's order
            const auto i = static_cast<size_t>(std::find(order_.begin(), order_.end(), at) - order_.begin());
            output_.add(runtime_, outputs[i], output_sizes_[i]);
        }
    }

private:
    struct Buffers {
        void open(const Runtime &runtime) {
            set = runtime.aclmdlCreateDataset();
            if (!set) throw Failure{YQB_ENOMEM, "aclmdlCreateDataset gave nothing: the host is out of memory"};
        }
        void add(const Runtime &runtime, void *memory, size_t size) {
            DataBuffer *buffer = runtime.aclCreateDataBuffer(memory, size);
            if (!buffer) throw Failure{YQB_ENOMEM, "aclCreateDataBuffer gave nothing: the host is out of memory"};
            const int code = runtime.aclmdlAddDatasetBuffer(set, buffer);
            if (code == success) {
                buffers.push_back(buffer);
                return;
            }
            const Failure failure =
                code_failure(runtime, status_of(code), "aclmdlAddDatasetBuffer", code, advice(code));
            runtime.aclDestroyDataBuffer(buffer);
            throw failure;
        }
        void end(const Runtime &runtime) {
            for (DataBuffer *buffer : buffers) runtime.aclDestroyDataBuffer(buffer);
            if (set) runtime.aclmdlDestroyDataset(set);
        }
        Dataset *set = nullptr;
        std::vector<DataBuffer *> buffers;
    };

    void load(const std::string &wrong_chip) {
        const int code = runtime_.aclmdlLoadFromFile(file_.path.c_str(), &id_);
        if (code == success) return;
        if (status_of(code) != YQB_EBACKEND || is_not_initialised(code))
            throw code_failure(runtime_, status_of(code), "aclmdlLoadFromFile", code, advice(code));
        if (!wrong_chip.empty()) throw Failure{YQB_EPACKAGE, wrong_chip};
        throw code_failure(runtime_, YQB_EPACKAGE, "aclmdlLoadFromFile", code,
                           "the runtime, " + runtime_.version + ", refuses " + file_.path +
                               ": build the package anew for this chip with a CANN that is no newer");
    }

    void match_input(const yqb_tensor &tensor) {
        const size_t count = runtime_.aclmdlGetNumInputs(desc_);
        if (count != 1)
            throw Failure{YQB_EPACKAGE, "the model must have one input, uint8; it has " + std::to_string(count) +
                                            ": compile it without dynamic batch, size or AIPP"};
        check_type(tensor, runtime_.aclmdlGetInputDataType(desc_, 0));
        IODims dims = {};
        ASCEND_TRY(runtime_, aclmdlGetInputDimsV2(desc_, 0, &dims));
        check_shape(tensor, dims);
        const int format = runtime_.aclmdlGetInputFormat(desc_, 0);
        if (format != format_nhwc && format != format_nd)
            mismatch(tensor, "in format " + std::to_string(format), "in NHWC");
        input_size_ = checked_size(tensor, runtime_.aclmdlGetInputSizeByIndex(desc_, 0));
    }

    void match_output(const yqb_tensor &tensor, size_t count) {
        const size_t index = find_output(tensor, count);
        check_type(tensor, runtime_.aclmdlGetOutputDataType(desc_, index));
        IODims dims = {};
        ASCEND_TRY(runtime_, aclmdlGetOutputDims(desc_, index, &dims));
        check_shape(tensor, dims);
        if (std::find(order_.begin(), order_.end(), index) != order_.end())
            throw Failure{YQB_EPACKAGE, "the package names the output '" + std::string(tensor.name) + "' twice"};
        order_.push_back(index);
        output_sizes_.push_back(checked_size(tensor, runtime_.aclmdlGetOutputSizeByIndex(desc_, index)));
    }

    // ATC reports an ONNX output as "node:0:name". A name of more than 127 characters has an alias.
    size_t find_output(const yqb_tensor &tensor, size_t count) const {
        std::string names;
        for (size_t i = 0; i < count; ++i) {
            const char *reported = runtime_.aclmdlGetOutputNameByIndex(desc_, i);
            const char *real = reported && runtime_.aclmdlGetTensorRealName
                                   ? runtime_.aclmdlGetTensorRealName(desc_, reported)
                                   : nullptr;
            for (const char *name : {reported, real}) {
                if (!name) continue;
                const char *last = std::strrchr(name, ':');
                if (std::strcmp(name, tensor.name) == 0 || (last && std::strcmp(last + 1, tensor.name) == 0)) return i;
            }
            names += std::string(i ? ", " : "") + (reported ? reported : "one without a name");
        }
        throw Failure{YQB_EPACKAGE, "the model has no output '" + std::string(tensor.name) + "'; it has " + names +
                                        ": build the package anew"};
    }

    void end() noexcept {
        input_.end(runtime_);
        output_.end(runtime_);
        runtime_.aclmdlUnload(id_);
        if (desc_) runtime_.aclmdlDestroyDesc(desc_);
    }

    const Runtime &runtime_;
    const ModelFile file_;
    uint32_t id_ = 0;
    Desc *desc_ = nullptr;
    size_t input_size_ = 0;
    std::vector<size_t> order_; // where the package's outputs are among the model's
    std::vector<size_t> output_sizes_;
    Buffers input_, output_;
};

} // namespace ascend
