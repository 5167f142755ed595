// SPDX-License-Identifier: Apache-2.0
// A lane: everything that one stream has on a device, made, used and ended by one thread. A context of its own, so that
// neither the host's contexts nor those of other lanes are ever current here; a stream; the models, loaded for this
// lane alone, as AscendCL does not run one model id twice at once; pinned and device memory.
//
// The members are in the order in which AscendCL wants them made; they end in the opposite one.
#pragma once

#include <atomic>
#include <memory>

#include "ascend_model.h"

namespace ascend {

// The thread's hold on the device: aclrtSetDevice counts.
class Hold {
public:
    Hold(const Runtime &runtime, int32_t device) : runtime_(runtime), device_(device) {
        ASCEND_TRY(runtime, aclrtSetDevice(device));
    }
    ~Hold() { runtime_.aclrtResetDevice(device_); }
    Hold(const Hold &) = delete;
    Hold &operator=(const Hold &) = delete;

private:
    const Runtime &runtime_;
    const int32_t device_;
};

class OwnContext {
public:
    OwnContext(const Runtime &runtime, int32_t device) : runtime_(runtime) {
        ASCEND_TRY(runtime, aclrtCreateContext(&context_, device));
    }
    ~OwnContext() { runtime_.aclrtDestroyContext(context_); }
    OwnContext(const OwnContext &) = delete;
    OwnContext &operator=(const OwnContext &) = delete;

private:
    const Runtime &runtime_;
    Context context_ = nullptr;
};

class OwnStream {
public:
    explicit OwnStream(const Runtime &runtime) : runtime_(runtime) { ASCEND_TRY(runtime, aclrtCreateStream(&stream_)); }
    ~OwnStream() { runtime_.aclrtDestroyStream(stream_); }
    OwnStream(const OwnStream &) = delete;
    OwnStream &operator=(const OwnStream &) = delete;

    Stream get() const { return stream_; }

    // Waits until the device is through with the stream, as long as it takes. `stop` asks a device that hangs to give
    // up, where it can (a 910B).
    int sync(const std::atomic<bool> &stop) const {
        constexpr int timed_out = 507046, look_ms = 1000;
        if (!runtime_.aclrtSynchronizeStreamWithTimeout) return runtime_.aclrtSynchronizeStream(stream_);
        bool aborted = false;
        for (;;) {
            const int code = runtime_.aclrtSynchronizeStreamWithTimeout(stream_, look_ms);
            if (code != timed_out) return code;
            if (!stop || aborted) continue;
            aborted = true;
            if (runtime_.aclrtStreamAbort) runtime_.aclrtStreamAbort(stream_);
        }
    }

private:
    const Runtime &runtime_;
    Stream stream_ = nullptr;
};

// Memory in the two places that a tensor needs: pinned on the host, and on the device. On a board whose host is the
// device (run mode ACL_DEVICE) both are one.
class Tensor {
public:
    Tensor(const Runtime &runtime, size_t size, bool shared) : runtime_(runtime), size_(size) {
        const size_t roomy = (size + 31) / 32 * 32 + 32 + yqb::kAlignment; // the runtime's padding, and to align
        ASCEND_TRY(runtime, aclrtMallocHost(&pinned_, roomy));
        const auto address = reinterpret_cast<uintptr_t>(pinned_);
        host_ = static_cast<uint8_t *>(pinned_) + (yqb::kAlignment - address % yqb::kAlignment) % yqb::kAlignment;
        std::memset(host_, 0, size);
        if (shared) return;
        try {
            ASCEND_TRY(runtime, aclrtMalloc(&device_, size, huge_first));
        } catch (...) {
            runtime.aclrtFreeHost(pinned_);
            throw;
        }
    }
    ~Tensor() {
        if (device_) runtime_.aclrtFree(device_);
        runtime_.aclrtFreeHost(pinned_);
    }
    Tensor(const Tensor &) = delete;
    Tensor &operator=(const Tensor &) = delete;

    uint8_t *host() const { return host_; }
    void *device() const { return device_ ? device_ : host_; }

    void upload(size_t bytes, Stream stream) const {
        if (device_) ASCEND_TRY(runtime_, aclrtMemcpyAsync(device_, size_, host_, bytes, host_to_device, stream));
    }
    void download(size_t bytes, Stream stream) const {
        if (device_) ASCEND_TRY(runtime_, aclrtMemcpyAsync(host_, size_, device_, bytes, device_to_host, stream));
    }

private:
    const Runtime &runtime_;
    const size_t size_;
    void *pinned_ = nullptr, *device_ = nullptr;
    uint8_t *host_ = nullptr;
};

class Lane {
public:
    Lane(const Runtime &runtime, int32_t device, const yqb_config &config, const std::vector<ModelFile> &files,
         const std::string &soc)
        : runtime_(runtime), hold_(runtime, device), context_(runtime, device), stream_(runtime),
          picture_bytes_(yqb::tensor_bytes(*config.input) / config.batch) {
        int mode = on_host;
        ASCEND_TRY(runtime, aclrtGetRunMode(&mode));
        const std::string wrong_chip = compare_chip(soc);
        for (const ModelFile &file : files) {
            models_.push_back(std::make_unique<Model>(runtime, file, wrong_chip));
            models_.back()->match(config);
        }
        make_memory(config, mode == on_device);
    }

    uint8_t *input() const { return input_->host(); }
    size_t output_count() const { return outputs_.size(); }
    const uint8_t *output(size_t index) const { return outputs_[index]->host(); }

    // Copies in, runs the smallest model that holds `count` pictures, copies out, waits. Throws what failed.
    void run(uint32_t count, const std::atomic<bool> &stop) const {
        try {
            start(count);
        } catch (...) {
            stream_.sync(stop); // what was queued before may still use the memory
            throw;
        }
        if (const int code = stream_.sync(stop)) {
            const char *call = runtime_.aclrtSynchronizeStreamWithTimeout ? "aclrtSynchronizeStreamWithTimeout"
                                                                          : "aclrtSynchronizeStream";
            throw code_failure(runtime_, status_of(code), call, code, advice(code));
        }
    }

private:
    // Why a model that does not load may not: "" if the chips are the same, or not known.
    std::string compare_chip(const std::string &wanted) const {
        const char *is = runtime_.aclrtGetSocName ? runtime_.aclrtGetSocName() : nullptr;
        if (wanted.empty() || !is || wanted == is) return "";
        return "the model is compiled for " + wanted + ", this device is " + is + ": build the package for this chip";
    }

    void make_memory(const yqb_config &config, bool shared) {
        size_t most = 0;
        for (const auto &model : models_) most = std::max(most, model->input_size());
        input_ = std::make_unique<Tensor>(runtime_, most, shared);
        std::vector<void *> addresses;
        for (uint32_t i = 0; i < config.output_count; ++i) {
            most = 0;
            for (const auto &model : models_) most = std::max(most, model->output_size(i));
            outputs_.push_back(std::make_unique<Tensor>(runtime_, most, shared));
            addresses.push_back(outputs_.back()->device());
            output_bytes_.push_back(yqb::tensor_bytes(config.outputs[i]) / config.batch);
        }
        for (const auto &model : models_) model->bind(input_->device(), addresses);
    }

    void start(uint32_t count) const {
        const Stream stream = stream_.get();
        const auto fits = [=](const std::unique_ptr<Model> &model) { return model->batch() >= count; };
        const Model &model = **std::find_if(models_.begin(), models_.end(), fits);
        input_->upload(count * picture_bytes_, stream);
        ASCEND_TRY(runtime_, aclmdlExecuteAsync(model.id(), model.input(), model.output(), stream));
        for (size_t i = 0; i < outputs_.size(); ++i) outputs_[i]->download(count * output_bytes_[i], stream);
    }

    const Runtime &runtime_;
    const Hold hold_;
    const OwnContext context_;
    const OwnStream stream_;
    const size_t picture_bytes_;
    std::vector<size_t> output_bytes_;           // of one picture, by the package's order
    std::vector<std::unique_ptr<Model>> models_; // smallest batch first
    std::unique_ptr<Tensor> input_;
    std::vector<std::unique_ptr<Tensor>> outputs_; // by the package's order
};

} // namespace ascend
