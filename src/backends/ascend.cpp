// SPDX-License-Identifier: Apache-2.0
// Backend "ascend": a package's .om models on an Ascend 310P, 310B or 910B, through AscendCL.
//
// Options (backend_options of the package): soc, the chip that the models were compiled for, such as "Ascend310P3"; it
// makes the error of a model that does not load say so.
//
// A model has fixed shapes, one uint8 NHWC input (as its static AIPP or its graph takes it) and outputs found by name.
// A package may have one model for each of several batch sizes: a request takes the smallest that holds its pictures.
//
// Each slot has a thread and, made and ended by it, a lane: a context, a stream, the models and the memory. The thread
// copies in, executes and copies out in the stream and waits for it, so that a device that hangs holds that thread and
// no caller; what the core writes and reads is pinned memory, made once.

#include <algorithm>

#include "ascend_health.h"
#include "ascend_lane.h"
#include "module.h"
#include "workers.h"

using yqb::Failure;
using yqb::report;

struct yqb_session {
    yqb_session(const ascend::Runtime &of, const yqb_config &config, const std::vector<ascend::ModelFile> &files,
                const std::string &soc)
        : runtime(of), device(ascend::device_index(of, config.device)), input_bytes(yqb::tensor_bytes(*config.input)),
          lanes(config.slots) {
        for (uint32_t i = 0; i < config.output_count; ++i) output_bytes.push_back(yqb::tensor_bytes(config.outputs[i]));
        yqb::Job job;
        job.begin = [&](uint32_t slot) { // called by the constructor of the workers only
            lanes[slot] = std::make_unique<ascend::Lane>(runtime, device, config, files, soc);
        };
        job.run = [this](uint32_t slot, uint32_t count, const auto &stop) { lanes[slot]->run(count, stop); };
        job.end = [this](uint32_t slot) { lanes[slot].reset(); };
        job.alarm = [this] {
            const std::string found = ascend::alarm(runtime, device);
            return found.empty() ? found : "the driver reports " + found + "; ";
        };
        workers = std::make_unique<yqb::Workers>(config.slots, config.batch, std::move(job));
    }

    yqb::Room input(uint32_t slot) const { return {lanes[slot]->input(), input_bytes}; }
    uint32_t outputs() const { return static_cast<uint32_t>(output_bytes.size()); }
    yqb_view output(uint32_t slot, uint32_t index) const { return {lanes[slot]->output(index), output_bytes[index]}; }

    const ascend::Runtime &runtime;
    const int32_t device;
    const uint64_t input_bytes;
    std::vector<uint64_t> output_bytes;               // by the package's order
    std::vector<std::unique_ptr<ascend::Lane>> lanes; // made and ended by the slots' threads, in the context they made
    std::unique_ptr<yqb::Workers> workers;            // the last: its threads end first
};

namespace {

// ------------------------------------------------------------------------------------------------------------- table

// The chip that the package's options name; "" if they do not.
std::string read_options(const yqb_config &config) {
    std::string soc;
    for (uint32_t i = 0; i < config.option_count; ++i) {
        const std::string key = config.option_keys[i];
        if (key == "soc" || key == "ascend.soc")
            soc = config.option_values[i];
        else if (key.find('.') == std::string::npos || key.compare(0, 7, "ascend.") == 0)
            throw Failure{YQB_EINVAL, "the ascend backend has no option '" + key + "'; it has soc"};
    }
    return soc;
}

void warn_of_alarm(const yqb_session &session, const yqb_config &config) {
    const std::string alarm = ascend::alarm(session.runtime, session.device);
    if (alarm.empty() || !config.log) return;
    const std::string text = "the driver reports " + alarm + " on device " + std::to_string(session.device) +
                             ": look at npu-smi info -t health";
    config.log(config.log_user, 2, text.c_str());
}

const char *YQB_CALL sdk_version() {
    try {
        return ascend::runtime().version.c_str();
    } catch (...) { return ""; }
}

int32_t YQB_CALL probe(yqb_error *error) {
    return yqb::guarded(error, [] { ascend::device_count(ascend::runtime()); });
}

int32_t YQB_CALL session_create(const yqb_config *config, yqb_session **out, yqb_error *error) {
    if (!out) return report(error, YQB_EINVAL, "out is NULL");
    *out = nullptr;
    return yqb::guarded(error, [&] {
        yqb::check_config(config);
        const std::string soc = read_options(*config);
        const std::vector<ascend::ModelFile> files = ascend::model_files(*config);
        auto session = std::make_unique<yqb_session>(ascend::runtime(), *config, files, soc);
        warn_of_alarm(*session, *config);
        *out = session.release();
    });
}

void YQB_CALL session_destroy(yqb_session *session) {
    delete session;
}

int32_t YQB_CALL health(yqb_session *session, yqb_health *out, yqb_error *error) {
    if (!session || !out) return report(error, YQB_EINVAL, "an argument is NULL");
    if (const int32_t status = session->workers->check_device(error)) return status;
    return yqb::guarded(error, [&] {
        const yqb_health full = ascend::read_health(session->runtime, session->device);
        const uint32_t size = std::min<uint32_t>(out->size, sizeof full);
        std::memcpy(out, &full, size);
        out->size = size;
    });
}

} // namespace

extern "C" YQB_EXPORT const yqb_api *YQB_CALL yq_backend_entry(uint32_t core_version) {
    // No letterbox: DVPP rounds differently from the host's. No profile: AscendCL writes one to files only.
    using Calls = yqb::SlotCalls<yqb_session>;
    static const yqb_api api = {sizeof(yqb_api), YQ_BACKEND_VERSION,
                                "ascend",        "ascend310p ascend310b ascend910b",
                                sdk_version,     probe,
                                session_create,  session_destroy,
                                Calls::input,    Calls::submit,
                                Calls::wait,     Calls::output,
                                health,          nullptr,
                                nullptr,         1};
    return core_version == YQ_BACKEND_VERSION ? &api : nullptr;
}
