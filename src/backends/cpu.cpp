// SPDX-License-Identifier: Apache-2.0
// Backend "cpu": the package's ONNX on the host's CPU, through OpenVINO's C API.
//
// Options (backend_options of the package; a key with a dot belongs to another backend and is ignored):
//   precision  what runs that is not INT8: "f32" (default, reproducible), "bf16" (error if the CPU cannot),
//              "auto" (bf16 where the CPU can)
//   threads    CPU threads over all streams, 1 to 1024; default: OpenVINO's choice
//   profile    "1": measure every operator (for the table's `profile`); default "0"
//
// The artefact has one uint8 NHWC input and outputs of static shape, found by name. Each slot has its own infer
// request, and every tensor lies in memory of ours, so that addresses never change.

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <vector>

#include <openvino/c/openvino.h>

#include "module.h"

using yqb::Failure;
using yqb::report;

namespace {

template <auto Free> struct Release {
    template <typename T> void operator()(T *object) const { Free(object); }
};
using Model = std::unique_ptr<ov_model_t, Release<ov_model_free>>;
using CompiledModel = std::unique_ptr<ov_compiled_model_t, Release<ov_compiled_model_free>>;
using Request = std::unique_ptr<ov_infer_request_t, Release<ov_infer_request_free>>;
using Tensor = std::unique_ptr<ov_tensor_t, Release<ov_tensor_free>>;
using Port = std::unique_ptr<ov_output_const_port_t, Release<ov_output_const_port_free>>;
using Text = std::unique_ptr<const char, Release<ov_free>>;

// ------------------------------------------------------------------------------------------------- OpenVINO's errors

// Takes the middle out of a long text; both ends stay whole UTF-8 characters.
std::string shorten(const std::string &text, size_t front, size_t back) {
    if (text.size() <= front + back) return text;
    size_t cut = front, resume = text.size() - back;
    while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
    while (resume < text.size() && (static_cast<unsigned char>(text[resume]) & 0xC0) == 0x80) ++resume;
    return text.substr(0, cut) + " ... " + text.substr(resume);
}

// OpenVINO's exceptions are several lines: "Exception from file:line" several times, then what happened, in long cases
// with the summary at the end. Keeps what tells something, short enough to fit an error beside a path.
std::string condense(const std::string &text) {
    std::string kept;
    for (size_t begin = 0; begin < text.size();) {
        const size_t end = std::min(text.find('\n', begin), text.size());
        const std::string line = text.substr(begin, end - begin);
        begin = end + 1;
        const size_t first = line.find_first_not_of(" \t\r");
        if (first == std::string::npos || line.compare(first, 15, "Exception from ") == 0) continue;
        if (!kept.empty()) kept += ' ';
        kept += line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
    }
    return shorten(kept.empty() ? text : kept, 100, 180);
}

// The last error's code, name and text. The C API keeps one text for the whole process: read it at once.
std::string reason(ov_status_e status) {
    const Text text(ov_get_last_err_msg());
    return "OpenVINO error " + std::to_string(status) + " (" + ov_get_error_info(status) +
           "): " + (text ? condense(text.get()) : "no text");
}

void check(ov_status_e status, int32_t failure, const std::string &what) {
    if (status != OK) throw Failure{failure, what + ": " + reason(status)};
}

// One core for all sessions, never freed: the module stays loaded, and OpenVINO's threads may outlive our statics.
ov_core_t *shared_core() {
    static std::mutex mutex;
    static ov_core_t *core = nullptr;
    const std::lock_guard<std::mutex> lock(mutex);
    if (!core) check(ov_core_create(&core), YQB_EBACKEND, "OpenVINO does not start");
    return core;
}

// ----------------------------------------------------------------------------------------------------------- options

enum class Precision { f32, bf16, automatic };

struct Settings {
    Precision precision = Precision::f32;
    uint64_t threads = 0; // 0: OpenVINO's choice
    bool profile = false;
};

Precision parse_precision(const std::string &text) {
    if (text == "f32") return Precision::f32;
    if (text == "bf16") return Precision::bf16;
    if (text == "auto") return Precision::automatic;
    throw Failure{YQB_EINVAL, "option precision must be f32, bf16 or auto, not '" + text + "'"};
}

Settings parse_options(const yqb_config &config) {
    Settings settings;
    for (uint32_t i = 0; i < config.option_count; ++i) {
        const std::string key = config.option_keys[i], value = config.option_values[i];
        if (key == "precision")
            settings.precision = parse_precision(value);
        else if (key == "threads")
            settings.threads = yqb::parse_number(key, value, 1, 1024);
        else if (key == "profile")
            settings.profile = yqb::parse_number(key, value, 0, 1) == 1;
        else if (key.find('.') == std::string::npos || key.compare(0, 4, "cpu.") == 0)
            throw Failure{YQB_EINVAL,
                          "the cpu backend has no option '" + key + "': it knows precision, threads, profile"};
    }
    return settings;
}

// ------------------------------------------------------------------------------------------------------------- model

// The CPU's list of capabilities ignores this limit; under it OpenVINO refuses bf16 or, far worse, emulates it.
bool instructions_are_limited() {
    const char *limit = std::getenv("ONEDNN_MAX_CPU_ISA");
    return limit && *limit && std::strcmp(limit, "ALL") != 0 && std::strcmp(limit, "DEFAULT") != 0;
}

bool cpu_has_bf16(ov_core_t *core) {
    char *value = nullptr;
    check(ov_core_get_property(core, "CPU", ov_property_key_device_capabilities, &value), YQB_EBACKEND,
          "OpenVINO does not tell what the CPU can");
    const Text text(value);
    return std::strstr(text.get(), "BF16") != nullptr;
}

// The next protobuf varint; false at the file's end.
bool read_varint(std::istream &file, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        const int byte = file.get();
        if (byte < 0) return false;
        *value |= static_cast<uint64_t>(byte & 0x7F) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

// Whether the file is a protobuf message that ends where its last field ends and has a graph (field 7). OpenVINO would
// try every front end it has on anything else, and some of them print.
bool is_onnx(const std::filesystem::path &path) {
    std::ifstream file(path, std::ios::binary);
    const uint64_t size = std::filesystem::file_size(path);
    bool graph = false;
    for (uint64_t tag = 0, value = 0; static_cast<uint64_t>(file.tellg()) < size;) {
        if (!read_varint(file, &tag) || tag >> 3 == 0 || !read_varint(file, &value)) return false;
        if ((tag & 7) != 0 && (tag & 7) != 2) return false; // ONNX has only varints and lengths at this level
        if ((tag & 7) == 0) continue;
        if (value > size - static_cast<uint64_t>(file.tellg())) return false;
        file.seekg(static_cast<std::streamoff>(value), std::ios::cur);
        graph = graph || tag >> 3 == 7;
    }
    return graph;
}

Model read_model(ov_core_t *core, const yqb_config &config) {
    const std::filesystem::path path = std::filesystem::u8path(config.artifact);
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(path, ignored))
        throw Failure{YQB_ENOTFOUND, std::string("there is no file ") + config.artifact};
    if (!is_onnx(path)) throw Failure{YQB_EPACKAGE, std::string("no ONNX model, or cut short: ") + config.artifact};
    ov_model_t *model = nullptr;
    const ov_status_e status = ov_core_read_model(core, config.artifact, nullptr, &model);
    if (status == OK) return Model(model);
    const std::string why = reason(status);
    const size_t readers = why.find("Available frontends:");
    if (readers != std::string::npos && why.find("onnx", readers) == std::string::npos)
        throw Failure{YQB_EBACKEND, "OpenVINO's library openvino_onnx_frontend is missing or damaged: install it anew"};
    throw Failure{YQB_EPACKAGE, std::string("cannot read ") + config.artifact + ": " + why};
}

CompiledModel compile_as(ov_core_t *core, const Model &model, const yqb_config &config, const Settings &settings,
                         const char *precision) {
    const bool latency = config.hint == 1 || (config.hint == 0 && config.slots == 1);
    const std::string streams = std::to_string(config.slots), threads = std::to_string(settings.threads);
    std::vector<ov_property_t> properties = {
        {ov_property_key_hint_performance_mode, latency ? "LATENCY" : "THROUGHPUT"},
        {ov_property_key_num_streams, streams.c_str()},
        {ov_property_key_hint_inference_precision, precision},
    };
    if (settings.threads) properties.push_back({ov_property_key_inference_num_threads, threads.c_str()});
    if (settings.profile) properties.push_back({ov_property_key_enable_profiling, "YES"});
    if (config.cache_dir) properties.push_back({ov_property_key_cache_dir, config.cache_dir});
    ov_compiled_model_t *compiled = nullptr;
    check(ov_core_compile_model_props(core, model.get(), "CPU", properties.size(), properties.data(), &compiled),
          YQB_EBACKEND, std::string("cannot compile ") + config.artifact + " as " + precision);
    return CompiledModel(compiled);
}

void log_line(const yqb_config &config, int32_t level, std::string text) {
    if (!config.log) return;
    yqb::one_line(text.data());
    config.log(config.log_user, level, text.c_str());
}

CompiledModel compile(ov_core_t *core, const Model &model, const yqb_config &config, const Settings &settings) {
    if (settings.precision == Precision::f32) return compile_as(core, model, config, settings, "f32");
    const bool automatic = settings.precision == Precision::automatic;
    if (!cpu_has_bf16(core)) {
        if (!automatic) throw Failure{YQB_EINVAL, "this CPU has no bf16: set the option precision to f32 or auto"};
        log_line(config, 1, "cpu: this CPU has no bf16; float operators run as f32");
        return compile_as(core, model, config, settings, "f32");
    }
    if (automatic && instructions_are_limited()) {
        log_line(config, 2, "cpu: ONEDNN_MAX_CPU_ISA limits the CPU; float operators run as f32");
        return compile_as(core, model, config, settings, "f32");
    }
    return compile_as(core, model, config, settings, "bf16");
}

// ------------------------------------------------------------------------------------------------------------- ports

ov_element_type_e element_type(int32_t dtype) {
    switch (dtype) {
    case YQB_UINT8: return U8;
    case YQB_INT8: return I8;
    case YQB_FLOAT16: return F16;
    default: return F32;
    }
}

const char *element_name(ov_element_type_e type) {
    switch (type) {
    case U8: return "uint8";
    case I8: return "int8";
    case F16: return "float16";
    case F32: return "float32";
    default: return "another type";
    }
}

std::string shape_text(const int64_t *dims, int64_t rank) {
    std::string text = "[";
    for (int64_t i = 0; i < rank; ++i) text += (i ? "," : "") + std::to_string(dims[i]);
    return text + "]";
}

// The model's port must be what the package says.
void check_port(const Port &port, const yqb_tensor &tensor) {
    const std::string name = "tensor '" + std::string(tensor.name) + "' of the model";
    ov_element_type_e type = DYNAMIC;
    check(ov_port_get_element_type(port.get(), &type), YQB_EPACKAGE, name);
    ov_shape_t shape = {};
    check(ov_const_port_get_shape(port.get(), &shape), YQB_EPACKAGE, name + " has no fixed shape");
    const std::string is = std::string(element_name(type)) + " " + shape_text(shape.dims, shape.rank);
    ov_shape_free(&shape);
    const std::string wanted =
        std::string(element_name(element_type(tensor.dtype))) + " " + shape_text(tensor.dims, tensor.rank);
    if (is != wanted)
        throw Failure{YQB_EPACKAGE, name + " is " + is + ", the package says " + wanted + ": build the package anew"};
}

std::string output_names(const CompiledModel &model) {
    std::string names;
    size_t count = 0;
    if (ov_compiled_model_outputs_size(model.get(), &count) != OK) return names;
    for (size_t i = 0; i < count; ++i) {
        ov_output_const_port_t *port = nullptr;
        char *name = nullptr;
        if (ov_compiled_model_output_by_index(model.get(), i, &port) != OK) continue;
        const Port owned(port);
        if (ov_port_get_any_name(port, &name) != OK) continue;
        const Text text(name);
        names += (names.empty() ? "" : ", ") + std::string(name);
    }
    return names;
}

Port input_port(const CompiledModel &model, const yqb_tensor &tensor) {
    size_t count = 0;
    check(ov_compiled_model_inputs_size(model.get(), &count), YQB_EPACKAGE, "the model's inputs");
    if (count != 1)
        throw Failure{YQB_EPACKAGE, "the model must have one input, uint8 NHWC; it has " + std::to_string(count)};
    ov_output_const_port_t *port = nullptr;
    if (ov_compiled_model_input_by_name(model.get(), tensor.name, &port) != OK)
        throw Failure{YQB_EPACKAGE,
                      "the model has no input '" + std::string(tensor.name) + "': build the package anew"};
    Port owned(port);
    check_port(owned, tensor);
    return owned;
}

Port output_port(const CompiledModel &model, const yqb_tensor &tensor) {
    ov_output_const_port_t *port = nullptr;
    if (ov_compiled_model_output_by_name(model.get(), tensor.name, &port) != OK)
        throw Failure{YQB_EPACKAGE, "the model has no output '" + std::string(tensor.name) + "'; it has " +
                                        output_names(model) + ": build the package anew"};
    Port owned(port);
    check_port(owned, tensor);
    return owned;
}

// ---------------------------------------------------------------------------------------------------------- sessions

struct Slot {
    std::vector<yqb::Buffer> buffers; // the input, then the outputs
    Request request;
    bool running = false, finished = false;
};

// Binds `buffer` to the request's port; the request keeps the address, the tensor object can go.
void bind(const Slot &slot, const Port &port, const yqb_tensor &tensor, void *data) {
    ov_shape_t shape = {};
    check(ov_shape_create(tensor.rank, tensor.dims, &shape), YQB_ENOMEM, "out of memory");
    ov_tensor_t *made = nullptr;
    const ov_status_e status = ov_tensor_create_from_host_ptr(element_type(tensor.dtype), shape, data, &made);
    ov_shape_free(&shape);
    check(status, YQB_EBACKEND, "cannot make a tensor");
    const Tensor owned(made);
    check(ov_infer_request_set_tensor_by_const_port(slot.request.get(), port.get(), made), YQB_EBACKEND,
          "cannot bind tensor '" + std::string(tensor.name) + "'");
}

} // namespace

// In this order, so that requests go before the model.
struct yqb_session {
    CompiledModel model;
    std::vector<Slot> slots;
    uint32_t batch = 1, outputs = 0;
    bool profile = false;
};

namespace {

void make_slots(yqb_session &session, const yqb_config &config) {
    const Port input = input_port(session.model, *config.input);
    std::vector<Port> outputs;
    for (uint32_t i = 0; i < config.output_count; ++i) outputs.push_back(output_port(session.model, config.outputs[i]));
    session.slots.resize(config.slots);
    for (Slot &slot : session.slots) {
        ov_infer_request_t *request = nullptr;
        check(ov_compiled_model_create_infer_request(session.model.get(), &request), YQB_EBACKEND,
              "cannot make a request");
        slot.request.reset(request);
        slot.buffers.emplace_back(yqb::tensor_bytes(*config.input));
        bind(slot, input, *config.input, slot.buffers[0].data.get());
        for (uint32_t i = 0; i < config.output_count; ++i) {
            slot.buffers.emplace_back(yqb::tensor_bytes(config.outputs[i]));
            bind(slot, outputs[i], config.outputs[i], slot.buffers[i + 1].data.get());
        }
    }
}

const char *YQB_CALL sdk_version() {
    static const std::string text = [] {
        ov_version_t version = {};
        if (ov_get_openvino_version(&version) != OK) return std::string("OpenVINO");
        const std::string build = version.buildNumber; // "2026.4.1-22982-<commit>-..."
        ov_version_free(&version);
        return "OpenVINO " + build.substr(0, build.find('-'));
    }();
    return text.c_str();
}

int32_t YQB_CALL probe(yqb_error *error) {
    return yqb::guarded(error, [] {
        ov_core_version_list_t versions = {};
        // Loads the CPU plugin, a file of its own that may be missing.
        check(ov_core_get_versions_by_device_name(shared_core(), "CPU", &versions), YQB_EBACKEND,
              "OpenVINO's library openvino_intel_cpu_plugin does not load");
        ov_core_versions_free(&versions);
    });
}

int32_t YQB_CALL session_create(const yqb_config *config, yqb_session **out, yqb_error *error) {
    if (!out) return report(error, YQB_EINVAL, "out is NULL");
    *out = nullptr;
    return yqb::guarded(error, [&] {
        yqb::check_config(config);
        if (std::strcmp(config->device, "0") != 0)
            throw Failure{YQB_EINVAL, "the CPU is device 0; there is no device '" + std::string(config->device) + "'"};
        std::error_code ignored;
        if (config->cache_dir && !std::filesystem::is_directory(std::filesystem::u8path(config->cache_dir), ignored))
            throw Failure{YQB_EINVAL,
                          "the cache folder " + std::string(config->cache_dir) + " does not exist: create it"};
        const Settings settings = parse_options(*config);
        ov_core_t *core = shared_core();
        auto session = std::make_unique<yqb_session>();
        session->batch = config->batch;
        session->outputs = config->output_count;
        session->profile = settings.profile;
        session->model = compile(core, read_model(core, *config), *config, settings);
        make_slots(*session, *config);
        *out = session.release();
    });
}

void YQB_CALL session_destroy(yqb_session *session) {
    if (!session) return;
    for (Slot &slot : session->slots) {
        if (!slot.running) continue;
        ov_infer_request_cancel(slot.request.get()); // stops between two operators
        ov_infer_request_wait(slot.request.get());
    }
    delete session;
}

Slot *find_slot(yqb_session *session, uint32_t slot, yqb_error *error) {
    if (session && slot < session->slots.size()) return &session->slots[slot];
    report(error, YQB_EINVAL, "there is no slot %u", slot);
    return nullptr;
}

int32_t YQB_CALL session_input(yqb_session *session, uint32_t slot, void **data, uint64_t *bytes, yqb_error *error) {
    Slot *found = find_slot(session, slot, error);
    if (!found) return YQB_EINVAL;
    *data = found->buffers[0].data.get();
    *bytes = found->buffers[0].bytes;
    return YQB_OK;
}

int32_t YQB_CALL submit(yqb_session *session, uint32_t slot, uint32_t count, yqb_error *error) {
    Slot *found = find_slot(session, slot, error);
    if (!found) return YQB_EINVAL;
    if (count < 1 || count > session->batch)
        return report(error, YQB_EINVAL, "%u pictures do not fit a batch of %u", count, session->batch);
    if (found->running) return report(error, YQB_EINVAL, "slot %u still runs a request", slot);
    found->finished = false;
    const ov_status_e status = ov_infer_request_start_async(found->request.get());
    if (status != OK)
        return yqb::guarded(error, [&] { throw Failure{YQB_EBACKEND, "cannot start a request: " + reason(status)}; });
    found->running = true;
    return YQB_OK;
}

// OpenVINO's own timed wait tells a timeout from success since 2024.0 (RESULT_NOT_READY), so no callback is needed.
// It also hands over the request's own exception, and returns only when the request can be started again.
ov_status_e timed_wait(ov_infer_request_t *request, int64_t timeout_us) {
    if (timeout_us < 0) return ov_infer_request_wait(request);
    const int64_t century_ms = int64_t{100} * 365 * 24 * 3600 * 1000; // more overflows the clock inside
    const int64_t timeout_ms = timeout_us / 1000 + (timeout_us % 1000 != 0);
    return ov_infer_request_wait_for(request, std::min(timeout_ms, century_ms));
}

int32_t YQB_CALL wait(yqb_session *session, uint32_t slot, int64_t timeout_us, yqb_error *error) {
    Slot *found = find_slot(session, slot, error);
    if (!found) return YQB_EINVAL;
    if (!found->running) return report(error, YQB_EINVAL, "slot %u runs no request", slot);
    const ov_status_e status = timed_wait(found->request.get(), timeout_us);
    if (status == RESULT_NOT_READY) return report(error, YQB_ETIMEOUT, "the request is still running");
    found->running = false;
    found->finished = status == OK;
    if (status == OK) return YQB_OK;
    return yqb::guarded(error, [&] { throw Failure{YQB_EBACKEND, "the request failed: " + reason(status)}; });
}

int32_t YQB_CALL output(yqb_session *session, uint32_t slot, uint32_t index, yqb_view *out, yqb_error *error) {
    Slot *found = find_slot(session, slot, error);
    if (!found) return YQB_EINVAL;
    if (index >= session->outputs) return report(error, YQB_EINVAL, "there is no output %u", index);
    if (!found->finished) return report(error, YQB_EINVAL, "slot %u has no finished request", slot);
    const yqb::Buffer &buffer = found->buffers[index + 1];
    *out = {buffer.data.get(), buffer.bytes};
    return YQB_OK;
}

int32_t YQB_CALL profile(yqb_session *session, uint32_t slot, char *text, uint64_t capacity, yqb_error *error) {
    Slot *found = find_slot(session, slot, error);
    if (!found) return YQB_EINVAL;
    if (!text || capacity == 0) return report(error, YQB_EINVAL, "no room for the profile");
    if (!session->profile) return report(error, YQB_EINVAL, "not measured: set the option profile to 1");
    if (!found->finished) return report(error, YQB_EINVAL, "slot %u has no finished request", slot);
    return yqb::guarded(error, [&] {
        ov_profiling_info_list_t list = {};
        check(ov_infer_request_get_profiling_info(found->request.get(), &list), YQB_EBACKEND, "no profile");
        std::string lines;
        for (size_t i = 0; i < list.size; ++i) {
            const ov_profiling_info_t &info = list.profiling_infos[i];
            if (info.status != ov_profiling_info_t::EXECUTED) continue;
            const std::string line = std::string(info.node_name) + "\t" + std::to_string(info.real_time) + "\n";
            if (lines.size() + line.size() >= capacity) break; // whole lines only
            lines += line;
        }
        ov_profiling_info_list_free(&list);
        std::memcpy(text, lines.c_str(), lines.size() + 1);
    });
}

} // namespace

extern "C" YQB_EXPORT const yqb_api *YQB_CALL yq_backend_entry(uint32_t core_version) {
    // No health: the host's temperature and load are not the device's. No letterbox: it runs on the CPU either way.
    static const yqb_api api = {
        sizeof(yqb_api), YQ_BACKEND_VERSION, "cpu",  "cpu", sdk_version, probe,   session_create,
        session_destroy, session_input,      submit, wait,  output,      nullptr, nullptr,
        profile};
    return core_version == YQ_BACKEND_VERSION ? &api : nullptr;
}
