// SPDX-License-Identifier: Apache-2.0
#include "session.h"

#include <cmath>

#include "log.h"
#include "platform.h"
#include "status.h"

// The backend's contract stands alone; its numbers are ours.
static_assert(YQB_OK == int(YQ_OK) && YQB_EINVAL == int(YQ_EINVAL) && YQB_ENOTFOUND == int(YQ_ENOTFOUND) &&
              YQB_EPACKAGE == int(YQ_EPACKAGE) && YQB_EBACKEND == int(YQ_EBACKEND) &&
              YQB_ETIMEOUT == int(YQ_ETIMEOUT) && YQB_ENOMEM == int(YQ_ENOMEM) && YQB_EDEVICE == int(YQ_EDEVICE));

namespace yq {
namespace {

template <typename Entry> bool has_entry(const yqb_api &api, const Entry yqb_api::*entry) {
    const auto end = reinterpret_cast<const char *>(&(api.*entry) + 1) - reinterpret_cast<const char *>(&api);
    return api.size >= static_cast<uint32_t>(end) && api.*entry != Entry{};
}

void YQB_CALL forward_log(void *, int32_t level, const char *message) {
    log(static_cast<yq_log_level>(level), "%s", message ? message : "");
}

int32_t backend_role(Role role) {
    switch (role) {
    case Role::box: return YQB_ROLE_BOX;
    case Role::score: return YQB_ROLE_SCORE;
    case Role::objectness: return YQB_ROLE_OBJECTNESS;
    case Role::combined: return YQB_ROLE_COMBINED;
    case Role::end2end: break;
    }
    return YQB_ROLE_END2END;
}

int32_t backend_dtype(DType dtype) {
    switch (dtype) {
    case DType::uint8: return YQB_UINT8;
    case DType::int8: return YQB_INT8;
    case DType::float16: return YQB_FLOAT16;
    case DType::float32: break;
    }
    return YQB_FLOAT32;
}

yqb_tensor describe_input(const Package &package, uint32_t batch) {
    yqb_tensor tensor{};
    tensor.name = package.input_name.c_str();
    tensor.dtype = YQB_UINT8;
    tensor.role = YQB_ROLE_INPUT;
    tensor.rank = 4;
    const int64_t dims[] = {batch, package.letterbox.height, package.letterbox.width, 3};
    for (int i = 0; i < 4; ++i) tensor.dims[i] = dims[i];
    return tensor;
}

std::vector<yqb_tensor> describe_outputs(const Package &package, uint32_t batch) {
    std::vector<yqb_tensor> tensors;
    for (const TensorSpec &spec : package.outputs) {
        yqb_tensor tensor{};
        tensor.name = spec.name.c_str();
        tensor.dtype = backend_dtype(spec.dtype);
        tensor.rank = static_cast<int32_t>(spec.shape.size());
        for (size_t i = 0; i < spec.shape.size(); ++i) tensor.dims[i] = spec.shape[i];
        tensor.dims[0] = batch;
        tensor.scale = spec.scale;
        tensor.zero_point = spec.zero_point;
        for (const HeadOutput &output : package.head.outputs)
            if (&package.outputs[output.tensor] == &spec) {
                tensor.role = backend_role(output.role);
                tensor.level = static_cast<int32_t>(output.level);
            }
        tensors.push_back(tensor);
    }
    return tensors;
}

} // namespace

yqb_health unknown_health() {
    return {sizeof(yqb_health), NAN, NAN, NAN, UINT64_MAX, UINT64_MAX};
}

const Artifact &served_artifact(const yqb_api &backend, const Package &package) {
    return has_entry(backend, &yqb_api::all_batches) ? package.artifacts.back() : package.artifacts.front();
}

int32_t Session::checked(int32_t status, const yqb_error &error, const char *step) const {
    if (status == YQB_OK) return YQ_OK;
    const bool known = status >= YQB_EINVAL && status <= YQB_EDEVICE;
    const char *text = error.text[0] ? error.text : "the backend gave no reason";
    return fail(known ? static_cast<yq_status>(status) : YQ_EBACKEND, "backend %s, %s: %s", plan_.api->name, step,
                text);
}

int32_t Session::create(const SessionPlan &plan, std::shared_ptr<Session> *out) {
    std::shared_ptr<Session> session(new Session(plan));
    YQ_TRY(session->open());
    *out = std::move(session);
    return YQ_OK;
}

int32_t Session::open() {
    const Package &package = *plan_.package;
    const uint32_t batch = plan_.artifact().batch;
    const std::string artifact = path_to_utf8(package.folder / path_from_utf8(plan_.artifact().file));
    const std::string folder = path_to_utf8(package.folder);
    const yqb_tensor input = describe_input(package, batch);
    const std::vector<yqb_tensor> outputs = describe_outputs(package, batch);
    std::vector<const char *> keys, values;
    for (const auto &[key, value] : package.backend_options) {
        keys.push_back(key.c_str());
        values.push_back(value.c_str());
    }
    std::vector<std::string> paths;
    std::vector<yqb_artifact> artifacts;
    for (const Artifact &each : package.artifacts)
        paths.push_back(path_to_utf8(package.folder / path_from_utf8(each.file)));
    for (size_t i = 0; i < paths.size(); ++i) artifacts.push_back({paths[i].c_str(), package.artifacts[i].batch});
    yqb_config config{};
    config.size = sizeof config;
    config.artifact = artifact.c_str();
    config.package_dir = folder.c_str();
    config.device = plan_.device.c_str();
    config.cache_dir = plan_.cache_dir.empty() ? nullptr : plan_.cache_dir.c_str();
    config.slots = plan_.streams;
    config.batch = batch;
    config.hint = plan_.hint;
    config.input = &input;
    config.outputs = outputs.data();
    config.output_count = static_cast<uint32_t>(outputs.size());
    config.option_keys = keys.data();
    config.option_values = values.data();
    config.option_count = static_cast<uint32_t>(keys.size());
    config.log = forward_log;
    config.artifacts = artifacts.data();
    config.artifact_count = static_cast<uint32_t>(artifacts.size());
    yqb_error error = {};
    YQ_TRY(checked(plan_.api->session_create(&config, &session_, &error), error, "loading the model"));

    const uint64_t wanted = static_cast<uint64_t>(batch) * package.letterbox.height * package.letterbox.width * 3;
    for (uint32_t slot = 0; slot < plan_.streams; ++slot) {
        void *data = nullptr;
        uint64_t bytes = 0;
        YQ_TRY(checked(plan_.api->session_input(session_, slot, &data, &bytes, &error), error, "input buffer"));
        if (!data || bytes < wanted)
            return fail(YQ_EBACKEND, "backend %s gave an input buffer of %llu bytes, the model takes %llu",
                        plan_.api->name, static_cast<unsigned long long>(bytes),
                        static_cast<unsigned long long>(wanted));
        inputs_.push_back(static_cast<uint8_t *>(data));
    }
    return YQ_OK;
}

Session::~Session() {
    if (session_) plan_.api->session_destroy(session_);
}

int32_t Session::outputs(uint32_t slot, const void **tensors) const {
    const std::vector<TensorSpec> &specs = plan_.package->outputs;
    for (uint32_t i = 0; i < specs.size(); ++i) {
        yqb_view view{};
        yqb_error error = {};
        YQ_TRY(checked(plan_.api->output(session_, slot, i, &view, &error), error, "output"));
        const uint64_t wanted = specs[i].bytes() / static_cast<uint64_t>(specs[i].shape[0]) * plan_.artifact().batch;
        if (!view.data || view.bytes < wanted)
            return fail(YQ_EBACKEND, "backend %s gave %llu bytes of output %s, the package says %llu", plan_.api->name,
                        static_cast<unsigned long long>(view.bytes), specs[i].name.c_str(),
                        static_cast<unsigned long long>(wanted));
        tensors[i] = view.data;
    }
    return YQ_OK;
}

int32_t Session::submit(uint32_t slot, uint32_t count) {
    yqb_error error = {};
    return checked(plan_.api->submit(session_, slot, count, &error), error, "starting a request");
}

int32_t Session::wait(uint32_t slot, int64_t timeout_us) {
    yqb_error error = {};
    const int32_t status = plan_.api->wait(session_, slot, timeout_us, &error);
    if (status == YQB_ETIMEOUT) return YQ_ETIMEOUT;
    return checked(status, error, "running a request");
}

bool Session::letterbox(uint32_t slot, uint32_t index, const ImageView &image, const LetterboxBox &box) {
    if (!has_entry(*plan_.api, &yqb_api::letterbox)) return false;
    yqb_image source{};
    source.format = image.format;
    source.width = image.width;
    source.height = image.height;
    source.data = image.data;
    source.stride = image.stride;
    source.data2 = image.data2;
    source.stride2 = image.stride2;
    source.roi_x = image.roi_x;
    source.roi_y = image.roi_y;
    source.roi_width = image.roi_width;
    source.roi_height = image.roi_height;
    source.color_space = image.color_space;
    const yqb_letterbox target{box.left, box.top, box.width, box.height, plan_.package->letterbox.pad};
    yqb_error error = {};
    return plan_.api->letterbox(session_, slot, index, &source, &target, &error) == YQB_OK;
}

yqb_health Session::health() const {
    yqb_health health = unknown_health();
    yqb_error error = {};
    if (has_entry(*plan_.api, &yqb_api::health) && plan_.api->health(session_, &health, &error) != YQB_OK)
        return unknown_health();
    return health;
}

} // namespace yq
