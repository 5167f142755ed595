// SPDX-License-Identifier: Apache-2.0
// Backend "sophgo": a package's .bmodel on a BM1684X, BM1688 or CV186X, or on the vendor's simulator, through libbmrt.
//
// Options (backend_options of the package): none.
//
// The .bmodel has one static network with one uint8 input, NHWC or NCHW, and outputs found by name. It may be compiled
// for several batch sizes (stages): a request with fewer pictures takes the smallest that holds them.
//
// A session has one handle and one runtime; libbmrt launches from many threads. A thread per slot owns what the SDK
// keeps per thread: it copies in, launches, syncs and copies out, so that a device that hangs holds that thread and no
// caller. Buffers on both sides are made once.

#include <algorithm>
#include <limits>

#include "module.h"
#include "sophgo_device.h"
#include "sophgo_layout.h"
#include "workers.h"

using yqb::Failure;
using yqb::report;

namespace {

// ------------------------------------------------------------------------------------------------------------- slots

struct Slot {
    Slot(const sophgo::Device &device, const sophgo::Layout &layout, const yqb_config &config)
        : input(yqb::tensor_bytes(*config.input)), staging(layout.planar ? input.bytes : 1),
          device_input(device, input.bytes), launched(layout.outputs.size()) {
        for (uint32_t i = 0; i < config.output_count; ++i) {
            outputs.emplace_back(yqb::tensor_bytes(config.outputs[i]));
            device_outputs.emplace_back(device, outputs.back().bytes);
        }
    }

    yqb::Buffer input, staging;       // staging: the pixels as planes, if the model wants them
    std::vector<yqb::Buffer> outputs; // in the package's order, as those on the device
    sophgo::DeviceBuffer device_input;
    std::vector<sophgo::DeviceBuffer> device_outputs;
    std::vector<sophgo::Tensor> launched; // in the network's order; a launch writes into them
};

} // namespace

struct yqb_session {
    yqb_session(const sophgo::Runtime &runtime, const yqb_config &config, const sophgo::ModelFile &file)
        : batch(config.batch), picture_bytes(yqb::tensor_bytes(*config.input) / config.batch),
          pixels(static_cast<uint64_t>(config.input->dims[1] * config.input->dims[2])), device(runtime, config.device),
          model(device, config.artifact, file), layout(sophgo::match(model.network(), config)) {
        for (uint32_t i = 0; i < config.slots; ++i) slots.push_back(std::make_unique<Slot>(device, layout, config));
        yqb::Job job;
        job.run = [this](uint32_t slot, uint32_t count, const auto &) { infer(*slots[slot], count); };
        workers = std::make_unique<yqb::Workers>(config.slots, config.batch, std::move(job));
    }

    void infer(Slot &slot, uint32_t count) const;
    yqb::Room input(uint32_t slot) const { return {slots[slot]->input.data.get(), slots[slot]->input.bytes}; }
    uint32_t outputs() const { return static_cast<uint32_t>(slots.front()->outputs.size()); }
    yqb_view output(uint32_t slot, uint32_t index) const {
        const yqb::Buffer &buffer = slots[slot]->outputs[index];
        return {buffer.data.get(), buffer.bytes};
    }

    const uint32_t batch;
    const uint64_t picture_bytes, pixels;
    sophgo::Device device;
    sophgo::Model model;
    const sophgo::Layout layout;
    std::vector<std::unique_ptr<Slot>> slots;
    std::unique_ptr<yqb::Workers> workers; // the last: its threads end first
};

namespace {

// Interleaved pixels to planes, picture by picture.
void to_planes(const yqb_session &session, Slot &slot, uint32_t count) {
    const uint64_t channels = session.picture_bytes / session.pixels;
    for (uint32_t picture = 0; picture < count; ++picture) {
        const uint8_t *from = slot.input.data.get() + picture * session.picture_bytes;
        uint8_t *to = slot.staging.data.get() + picture * session.picture_bytes;
        for (uint64_t channel = 0; channel < channels; ++channel)
            for (uint64_t i = 0; i < session.pixels; ++i)
                to[channel * session.pixels + i] = from[i * channels + channel];
    }
}

} // namespace

// Copies in, launches, waits for the device, copies out. Throws what failed.
void yqb_session::infer(Slot &slot, uint32_t count) const {
    const sophgo::Runtime &runtime = device.runtime();
    const sophgo::Handle handle = device.handle();
    const sophgo::Plan &plan = layout.plan_for(count);
    if (layout.planar) to_planes(*this, slot, count);
    uint8_t *host = (layout.planar ? slot.staging : slot.input).data.get();
    const auto bytes = static_cast<unsigned int>(count * picture_bytes);
    sophgo::check("bm_memcpy_s2d_partial",
                  [&] { return runtime.bm_memcpy_s2d_partial(handle, slot.device_input.memory(), host, bytes); });

    sophgo::Tensor input = plan.input;
    input.memory = slot.device_input.memory();
    std::copy(plan.outputs.begin(), plan.outputs.end(), slot.launched.begin());
    for (size_t i = 0; i < slot.outputs.size(); ++i)
        slot.launched[layout.outputs[i]].memory = slot.device_outputs[i].memory();
    const int launches = static_cast<int>(slot.launched.size());
    const bool launched = sophgo::vendor("bmrt_launch_tensor_ex", [&] {
        return runtime.bmrt_launch_tensor_ex(model.bmrt(), model.network().name, &input, 1, slot.launched.data(),
                                             launches, true, false);
    });
    if (!launched)
        throw sophgo::call_failure(YQB_EBACKEND, "bmrt_launch_tensor_ex", "gave false",
                                   sophgo::advice(sophgo::failure));
    sophgo::check("bm_thread_sync", [&] { return runtime.bm_thread_sync(handle); });

    for (size_t i = 0; i < slot.outputs.size(); ++i) {
        const auto whole = static_cast<unsigned int>(slot.outputs[i].bytes / batch * plan.batch);
        sophgo::check("bm_memcpy_d2s_partial", [&] {
            return runtime.bm_memcpy_d2s_partial(handle, slot.outputs[i].data.get(), slot.device_outputs[i].memory(),
                                                 whole);
        });
    }
}

namespace {

// ------------------------------------------------------------------------------------------------------------- table

void refuse_options(const yqb_config &config) {
    for (uint32_t i = 0; i < config.option_count; ++i) {
        const std::string key = config.option_keys[i];
        if (key.find('.') == std::string::npos || key.compare(0, 7, "sophgo.") == 0)
            throw Failure{YQB_EINVAL, "the sophgo backend has no option '" + key + "'; it has none"};
    }
}

const char *YQB_CALL sdk_version() {
    try {
        return sophgo::runtime().version.c_str();
    } catch (...) { return ""; }
}

int32_t YQB_CALL probe(yqb_error *error) {
    return yqb::guarded(error, [] { sophgo::device_count(sophgo::runtime()); });
}

int32_t YQB_CALL session_create(const yqb_config *config, yqb_session **out, yqb_error *error) {
    if (!out) return report(error, YQB_EINVAL, "out is NULL");
    *out = nullptr;
    return yqb::guarded(error, [&] {
        yqb::check_config(config);
        refuse_options(*config);
        const sophgo::ModelFile file(config->artifact);
        *out = new yqb_session(sophgo::runtime(), *config, file);
    });
}

void YQB_CALL session_destroy(yqb_session *session) {
    delete session;
}

int32_t YQB_CALL health(yqb_session *session, yqb_health *out, yqb_error *error) {
    if (!session || !out) return report(error, YQB_EINVAL, "an argument is NULL");
    if (const int32_t status = session->workers->check_device(error)) return status;
    return yqb::guarded(error, [&] {
        const yqb_health full = sophgo::read_health(session->device);
        const uint32_t size = std::min<uint32_t>(out->size, sizeof full);
        std::memcpy(out, &full, size);
        out->size = size;
    });
}

} // namespace

extern "C" YQB_EXPORT const yqb_api *YQB_CALL yq_backend_entry(uint32_t core_version) {
    // No letterbox: BM168x's own, BMCV, takes YUV and rounds differently. No profile: libbmrt writes one to files only.
    using Calls = yqb::SlotCalls<yqb_session>;
    static const yqb_api api = {sizeof(yqb_api), YQ_BACKEND_VERSION,
                                "sophgo",        "bm1684x bm1688 cv186x",
                                sdk_version,     probe,
                                session_create,  session_destroy,
                                Calls::input,    Calls::submit,
                                Calls::wait,     Calls::output,
                                health,          nullptr,
                                nullptr};
    return core_version == YQ_BACKEND_VERSION ? &api : nullptr;
}
