// SPDX-License-Identifier: Apache-2.0
// What a session holds of Sophgo's runtime: a device, memory on it, a loaded model. Each ends in its destructor.
#pragma once

#include <algorithm>
#include <limits>

#include "sophgo_model.h"
#include "sophgo_runtime.h"

namespace sophgo {

inline std::string chip_name(unsigned int id) {
    switch (id) {
    case 0x1684: return "BM1684";
    case 0x1686: return "BM1684X";
    case 0x1686A200: return "BM1688";
    default: break;
    }
    char text[32];
    std::snprintf(text, sizeof text, "chip 0x%x", id);
    return text;
}

// Devices of this machine. Some drivers do not count, but have the node.
inline unsigned int device_count(const Runtime &runtime) {
    int count = 0;
    const int code = vendor("bm_dev_getcount", [&] { return runtime.bm_dev_getcount(&count); });
    if (code == 0 && count > 0) return static_cast<unsigned int>(count);
    std::error_code ignored;
    if (std::filesystem::exists("/dev/bm-sophon0", ignored)) return 1;
    const std::string why = "there is no Sophgo device: load the driver, look at lspci and dmesg";
    if (code == 0) throw Failure{YQB_EBACKEND, why};
    throw Failure{YQB_EBACKEND, why + " (bm_dev_getcount gave " + std::to_string(code) + ")"};
}

// An open device.
class Device {
public:
    Device(const Runtime &runtime, const char *name) : runtime_(runtime) {
        const unsigned int count = device_count(runtime);
        const std::string text = name;
        const bool digits = !text.empty() && text.size() < 4 && text.find_first_not_of("0123456789") == text.npos;
        if (!digits || std::stoul(text) >= count)
            throw Failure{YQB_EINVAL,
                          "there is no device '" + text + "': this machine's are 0 to " + std::to_string(count - 1)};
        const int index = std::stoi(text);
        const int code = vendor("bm_dev_request", [&] { return runtime.bm_dev_request(&handle_, index); });
        if (code || !handle_) throw code_failure(YQB_EBACKEND, "bm_dev_request", code);
        try {
            check("bm_get_chipid", [&] { return runtime.bm_get_chipid(handle_, &chip_); });
        } catch (...) {
            end();
            throw;
        }
    }
    ~Device() { end(); }
    Device(const Device &) = delete;
    Device &operator=(const Device &) = delete;

    const Runtime &runtime() const { return runtime_; }
    Handle handle() const { return handle_; }
    std::string chip() const { return chip_name(chip_); }

private:
    void end() noexcept {
        try {
            runtime_.bm_dev_free(handle_);
        } catch (...) {} // nobody to tell
    }

    const Runtime &runtime_;
    Handle handle_ = nullptr;
    unsigned int chip_ = 0;
};

// Memory on the device.
class DeviceBuffer {
public:
    DeviceBuffer(const Device &device, uint64_t bytes) : device_(&device) {
        if (bytes > UINT32_MAX) throw Failure{YQB_EINVAL, "a tensor of 4 GiB or more: use a smaller batch"};
        check("bm_malloc_device_byte", [&] {
            return device.runtime().bm_malloc_device_byte(device.handle(), &memory_, static_cast<uint32_t>(bytes));
        });
    }
    ~DeviceBuffer() {
        if (!device_) return;
        try {
            device_->runtime().bm_free_device(device_->handle(), memory_);
        } catch (...) {} // nobody to tell
    }
    DeviceBuffer(DeviceBuffer &&other) noexcept : device_(other.device_), memory_(other.memory_) {
        other.device_ = nullptr;
    }
    DeviceBuffer &operator=(DeviceBuffer &&) = delete;

    const Memory &memory() const { return memory_; }

private:
    const Device *device_;
    Memory memory_;
};

inline std::string refusal(const Device &device, const ModelFile &file, const char *artifact) {
    const std::string words = last_words();
    if (file.chip() != device.chip() && !(file.chip() == "CV186X" && device.chip() == "BM1688"))
        return "the model is compiled for " + file.chip() + ", this device is a " + device.chip() +
               ": build the package for this chip";
    return std::string("bmrt_load_bmodel refuses ") + artifact + (words.empty() ? "" : " (" + words + ")") +
           ": build the package anew with a compiler that fits this runtime, " + device.runtime().version;
}

// What the driver tells of the device; the rest stays unknown. SoCs and the simulator tell little, and the simulator
// calls it a success when it fills in nothing.
inline yqb_health read_health(const Device &device) {
    const Runtime &runtime = device.runtime();
    const Handle handle = device.handle();
    const float unknown = std::numeric_limits<float>::quiet_NaN();
    yqb_health health = {sizeof health, unknown, unknown, unknown, UINT64_MAX, UINT64_MAX};
    unsigned int whole = 0;
    float watts = 0;
    if (runtime.bm_get_chip_temp &&
        vendor("bm_get_chip_temp", [&] { return runtime.bm_get_chip_temp(handle, &whole); }) == 0)
        health.temperature_c = static_cast<float>(whole);
    if (runtime.bm_get_board_power &&
        vendor("bm_get_board_power", [&] { return runtime.bm_get_board_power(handle, &whole); }) == 0)
        health.power_w = static_cast<float>(whole);
    else if (runtime.bm_get_tpu_power &&
             vendor("bm_get_tpu_power", [&] { return runtime.bm_get_tpu_power(handle, &watts); }) == 0)
        health.power_w = watts;
    DeviceStat stat;
    if (runtime.bm_get_stat && vendor("bm_get_stat", [&] { return runtime.bm_get_stat(handle, &stat); }) == 0 &&
        stat.memory_total > 0) {
        health.utilization_percent = static_cast<float>(stat.utilization);
        health.memory_used = static_cast<uint64_t>(std::max(stat.memory_used, 0)) << 20;
        health.memory_total = static_cast<uint64_t>(stat.memory_total) << 20;
    }
    return health;
}

// A libbmrt instance with one network loaded.
class Model {
public:
    Model(const Device &device, const char *artifact, const ModelFile &file) : runtime_(device.runtime()) {
        bmrt_ = vendor("bmrt_create", [&] { return runtime_.bmrt_create(device.handle()); });
        if (!bmrt_) throw Failure{YQB_EBACKEND, "bmrt_create failed: this runtime does not know the " + device.chip()};
        try {
            load(device, artifact, file);
        } catch (...) {
            end();
            throw;
        }
    }
    ~Model() { end(); }
    Model(const Model &) = delete;
    Model &operator=(const Model &) = delete;

    void *bmrt() const { return bmrt_; }
    const Network &network() const { return *network_; }

private:
    void load(const Device &device, const char *artifact, const ModelFile &file) {
        const std::string path = file.path();
        if (!vendor("bmrt_load_bmodel", [&] { return runtime_.bmrt_load_bmodel(bmrt_, path.c_str()); })) {
            const bool memory = std::strstr(last_words(), "alloc") != nullptr;
            if (memory) throw call_failure(YQB_ENOMEM, "bmrt_load_bmodel", "gave false", advice(no_memory));
            throw Failure{YQB_EPACKAGE, refusal(device, file, artifact)};
        }
        const int count = vendor("bmrt_get_network_number", [&] { return runtime_.bmrt_get_network_number(bmrt_); });
        if (count != 1)
            throw Failure{YQB_EPACKAGE, "the model must hold one network; bmrt_get_network_number gave " +
                                            std::to_string(count) + ": build the package anew"};
        const char *name = vendor("bmrt_get_network_name", [&] { return runtime_.bmrt_get_network_name(bmrt_, 0); });
        if (!name) throw Failure{YQB_EBACKEND, "bmrt_get_network_name gave nothing: install libsophon anew"};
        network_ = vendor("bmrt_get_network_info", [&] { return runtime_.bmrt_get_network_info(bmrt_, name); });
        if (!network_) throw Failure{YQB_EBACKEND, "bmrt_get_network_info gave nothing: install libsophon anew"};
        if (network_->is_dynamic)
            throw Failure{YQB_EPACKAGE, "the model has dynamic shapes: compile it with fixed ones"};
    }

    void end() noexcept {
        try {
            runtime_.bmrt_destroy(bmrt_);
        } catch (...) {} // nobody to tell
    }

    const Runtime &runtime_;
    void *bmrt_ = nullptr;
    const Network *network_ = nullptr;
};

} // namespace sophgo
