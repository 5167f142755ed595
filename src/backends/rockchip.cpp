// SPDX-License-Identifier: Apache-2.0
// Backend "rockchip": a package's .rknn on the NPU of an RK3588, RK3576, RK3568 or RK3566, through librknnrt.
//
// Options (backend_options of the package):
//     cores   which cores of an RK3588 or RK3576 a request runs on: "auto" (one that is free; the default), "0", "1",
//             "2", "0_1", "0_1_2"; a session that is made for latency takes them all
//
// A context of librknnrt runs one request at a time, so that each slot has one of its own; they share the weights. The
// core writes pixels into memory that the NPU reads itself, and outputs are read where the runtime puts them, as the
// package's type: nothing is copied unless the NPU wants rows of another length. rknn_run blocks: a thread per slot.

#include "module.h"
#include "rockchip_model.h"
#include "workers.h"

using yqb::Failure;
using yqb::report;

namespace {

// ------------------------------------------------------------------------------------------------------------- slots

// A context of the runtime: a loaded model.
class Context {
public:
    Context(const rockchip::Runtime &runtime, rockchip::ModelFile &file, const char *artifact) : runtime_(runtime) {
        const int code = runtime.rknn_init(&handle_, file.data(), file.size(), 0, nullptr);
        if (code == 0) return;
        const bool other = code == rockchip::kOtherPlatform || code == rockchip::unmatched;
        if (other && !file.chip().empty())
            throw Failure{YQB_EPACKAGE, "the model is compiled for " + file.chip() +
                                            ", this board has another chip: build the package for it; rknn_init gave " +
                                            std::to_string(code) + " (" + rockchip::code_name(code) + ")"};
        const bool refused =
            other || code == rockchip::bad_model || code == rockchip::old || code == rockchip::kOldOptimisation;
        if (refused)
            throw Failure{YQB_EPACKAGE, "rknn_init refuses " + std::string(artifact) + " with " + std::to_string(code) +
                                            " (" + rockchip::code_name(code) +
                                            "): build the package anew, or install " +
                                            "the librknnrt.so of the compiler that it names"};
        throw rockchip::code_failure(code == rockchip::no_memory ? YQB_ENOMEM : YQB_EBACKEND, "rknn_init", code);
    }
    explicit Context(Context &other) : runtime_(other.runtime_) {
        rockchip::check("rknn_dup_context", runtime_.rknn_dup_context(&other.handle_, &handle_));
    }
    ~Context() { runtime_.rknn_destroy(handle_); }
    Context &operator=(const Context &) = delete;

    const rockchip::Runtime &runtime() const { return runtime_; }
    rockchip::Context handle() const { return handle_; }

private:
    const rockchip::Runtime &runtime_;
    rockchip::Context handle_ = 0;
};

// Memory that the NPU and this process see.
class Shared {
public:
    Shared(const Context &context, rockchip::Attribute attribute) : context_(context) {
        const uint32_t bytes = attribute.bytes_with_stride;
        memory_ = context.runtime().rknn_create_mem(context.handle(), bytes);
        if (!memory_ || !memory_->data) {
            end();
            throw Failure{YQB_ENOMEM, "rknn_create_mem gave nothing for " + std::to_string(bytes) +
                                          " bytes: " + rockchip::advice(rockchip::no_memory)};
        }
        if (const int code = context.runtime().rknn_set_io_mem(context.handle(), memory_, &attribute)) {
            end();
            throw rockchip::code_failure(rockchip::status_of(code), "rknn_set_io_mem", code);
        }
    }
    ~Shared() { end(); }
    Shared(const Shared &) = delete;
    Shared &operator=(const Shared &) = delete;

    uint8_t *data() const { return static_cast<uint8_t *>(memory_->data); }

private:
    void end() noexcept {
        if (memory_) context_.runtime().rknn_destroy_mem(context_.handle(), memory_);
    }

    const Context &context_;
    rockchip::Memory *memory_ = nullptr;
};

// `context` outlives it.
struct Slot {
    Slot(std::unique_ptr<Context> own, const yqb_config &config, int cores)
        : context(std::move(own)), attribute(rockchip::match_input(context->runtime(), context->handle(), config)),
          input(*context, attribute), row_bytes(static_cast<uint64_t>(config.input->dims[2] * config.input->dims[3])),
          row_step(row_bytes / static_cast<uint64_t>(config.input->dims[2]) * attribute.row_stride) {
        const rockchip::Runtime &runtime = context->runtime();
        for (const rockchip::Attribute &output : rockchip::match_outputs(runtime, context->handle(), config))
            outputs.push_back(std::make_unique<Shared>(*context, output));
        if (cores != rockchip::automatic) {
            if (!runtime.rknn_set_core_mask)
                throw Failure{YQB_EBACKEND, "this librknnrt.so has no rknn_set_core_mask: install a newer one"};
            rockchip::check("rknn_set_core_mask", runtime.rknn_set_core_mask(context->handle(), cores));
        }
        const bool aligned = reinterpret_cast<uintptr_t>(input.data()) % yqb::kAlignment == 0;
        if (row_step != row_bytes || !aligned)
            staging = std::make_unique<yqb::Buffer>(yqb::tensor_bytes(*config.input));
    }

    uint8_t *pixels() const { return staging ? staging->data.get() : input.data(); }

    std::unique_ptr<Context> context;
    rockchip::Attribute attribute;
    Shared input;
    std::vector<std::unique_ptr<Shared>> outputs; // in the package's order
    const uint64_t row_bytes, row_step;           // of the pixels, and of the NPU's memory
    std::unique_ptr<yqb::Buffer> staging;         // only if the NPU's rows are longer
};

// The runtime knows no more than one NPU.
void check_device(const std::string &device) {
    if (device != "0") throw Failure{YQB_EINVAL, "there is no device '" + device + "': a board has one NPU, 0"};
}

// The option `cores`, or what the hint asks for on this chip, as a mask.
int find_cores(const yqb_config &config, const std::string &chip) {
    static const struct {
        const char *text;
        int mask;
    } known[] = {{"auto", rockchip::automatic}, {"0", rockchip::core_0}, {"1", rockchip::core_1},
                 {"2", rockchip::core_2},       {"0_1", rockchip::two},  {"0_1_2", rockchip::three}};
    const int all = chip == "rk3588" ? rockchip::three : chip == "rk3576" ? rockchip::two : rockchip::automatic;
    int mask = config.hint == 1 ? all : rockchip::automatic;
    for (uint32_t i = 0; i < config.option_count; ++i) {
        const std::string key = config.option_keys[i], value = config.option_values[i];
        const bool own = key.compare(0, 9, "rockchip.") == 0;
        if (!own && key.find('.') != std::string::npos) continue; // another backend's
        if (key != "cores" && key != "rockchip.cores")
            throw Failure{YQB_EINVAL, "the rockchip backend has no option '" + key + "'; it has cores"};
        const auto *it =
            std::find_if(std::begin(known), std::end(known), [&](auto &each) { return value == each.text; });
        if (it == std::end(known) || (it->mask & ~all) != 0)
            throw Failure{YQB_EINVAL, "option cores is '" + value + "', which a " + chip +
                                          " does not have: use auto, 0, 1, 2, 0_1 or 0_1_2, as far as there are cores"};
        mask = it->mask;
    }
    return mask;
}

} // namespace

struct yqb_session {
    yqb_session(const rockchip::Runtime &runtime, const yqb_config &config, rockchip::ModelFile &file, int cores)
        : rows(static_cast<uint64_t>(config.input->dims[1])), output_bytes(config.output_count) {
        for (uint32_t i = 0; i < config.output_count; ++i) output_bytes[i] = yqb::tensor_bytes(config.outputs[i]);
        for (uint32_t i = 0; i < config.slots; ++i) {
            auto context = i ? std::make_unique<Context>(*slots.front()->context)
                             : std::make_unique<Context>(runtime, file, config.artifact);
            slots.push_back(std::make_unique<Slot>(std::move(context), config, cores));
        }
        yqb::Job job;
        job.run = [this](uint32_t slot, uint32_t count, const auto &) { infer(*slots[slot], count); };
        workers = std::make_unique<yqb::Workers>(config.slots, config.batch, std::move(job));
    }
    ~yqb_session() {
        workers.reset();
        while (!slots.empty()) slots.pop_back(); // the first context has the weights
    }

    void infer(const Slot &slot, uint32_t count) const {
        if (slot.staging)
            for (uint64_t row = 0; row < count * rows; ++row)
                std::memcpy(slot.input.data() + row * slot.row_step, slot.pixels() + row * slot.row_bytes,
                            slot.row_bytes);
        rockchip::check("rknn_run", slot.context->runtime().rknn_run(slot.context->handle(), nullptr));
    }

    yqb::Room input(uint32_t slot) const { return {slots[slot]->pixels(), slots[slot]->attribute.bytes}; }
    uint32_t outputs() const { return static_cast<uint32_t>(output_bytes.size()); }
    yqb_view output(uint32_t slot, uint32_t index) const {
        return {slots[slot]->outputs[index]->data(), output_bytes[index]};
    }

    const uint64_t rows; // of a picture
    std::vector<uint64_t> output_bytes;
    std::vector<std::unique_ptr<Slot>> slots;
    std::unique_ptr<yqb::Workers> workers;
};

namespace {

// ------------------------------------------------------------------------------------------------------------- table

const char *YQB_CALL sdk_version() {
    try {
        rockchip::runtime();
        return "RKNN runtime"; // it tells its version only to who has a model
    } catch (...) { return ""; }
}

int32_t YQB_CALL probe(yqb_error *error) {
    return yqb::guarded(error, [] { rockchip::runtime(); });
}

void log_versions(const yqb_session &session, const yqb_config &config) {
    const Context &context = *session.slots.front()->context;
    rockchip::Versions found;
    if (!config.log || context.runtime().rknn_query(context.handle(), rockchip::versions, &found, sizeof found) != 0)
        return;
    found.runtime[255] = found.driver[255] = '\0';
    yqb_error line = {};
    report(&line, YQB_OK, "librknnrt %s, driver %s", found.runtime, found.driver);
    config.log(config.log_user, 1, line.text);
}

int32_t YQB_CALL session_create(const yqb_config *config, yqb_session **out, yqb_error *error) {
    if (!out) return report(error, YQB_EINVAL, "no place for the session");
    *out = nullptr;
    return yqb::guarded(error, [&] {
        yqb::check_config(config);
        check_device(config->device);
        rockchip::ModelFile file(config->artifact);
        const int cores = find_cores(*config, file.chip());
        auto session = std::make_unique<yqb_session>(rockchip::runtime(), *config, file, cores);
        log_versions(*session, *config);
        *out = session.release();
    });
}

void YQB_CALL session_destroy(yqb_session *session) {
    delete session;
}

} // namespace

extern "C" YQB_EXPORT const yqb_api *YQB_CALL yq_backend_entry(uint32_t core_version) {
    // No health and no profile: the runtime tells neither a temperature nor a load, and times only in a slower mode.
    using Calls = yqb::SlotCalls<yqb_session>;
    static const yqb_api api = {sizeof(yqb_api), YQ_BACKEND_VERSION,
                                "rockchip",      "rk3588 rk3576 rk3568 rk3566",
                                sdk_version,     probe,
                                session_create,  session_destroy,
                                Calls::input,    Calls::submit,
                                Calls::wait,     Calls::output,
                                nullptr,         nullptr,
                                nullptr};
    return core_version == YQ_BACKEND_VERSION ? &api : nullptr;
}
