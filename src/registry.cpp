// SPDX-License-Identifier: Apache-2.0
#include "registry.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <vector>

#include "platform.h"
#include "status.h"
#include "text.h"

namespace yq {
namespace {

// A module after the attempt to load it.
struct Module {
    const yqb_api *api = nullptr; // set if the table is sound
    yq_status status = YQ_OK;     // YQ_OK: usable
    std::string reason;
};

std::mutex registry_mutex;
std::map<std::string, Module> modules;

bool is_module_name(const std::string &name) {
    return !name.empty() && name.size() < sizeof(yq_backend_desc::name) &&
           std::all_of(name.begin(), name.end(),
                       [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; });
}

// Why a table cannot be used; "" if it can.
std::string table_fault(const yqb_api *api, const std::string &name) {
    constexpr uint32_t required = offsetof(yqb_api, output) + sizeof(yqb_api::output);
    if (!api) return "it refuses this version of yoloq (backend contract " + std::to_string(YQ_BACKEND_VERSION) + ")";
    if (api->version != YQ_BACKEND_VERSION)
        return "it was built for backend contract " + std::to_string(api->version) + ", this library has " +
               std::to_string(YQ_BACKEND_VERSION) + ": take both from one release";
    if (api->size < required) return "its function table is too short";
    if (!api->name || name != api->name) return "its table has another name than its file";
    if (!api->targets || !api->sdk_version || !api->probe || !api->session_create || !api->session_destroy ||
        !api->session_input || !api->submit || !api->wait || !api->output)
        return "its function table lacks a required entry";
    return "";
}

Module load_module(const std::string &name) {
    Module module;
    const std::filesystem::path path = library_folder() / module_file(name);
    std::error_code error;
    if (!std::filesystem::exists(path, error)) {
        module.status = YQ_ENOTFOUND;
        module.reason =
            "there is no " + path_to_utf8(path) +
            ": install it beside the yoloq library if your release has it, else quantize for another target";
        return module;
    }
    std::string reason;
    void *library = load_library(path, &reason);
    void *symbol = library ? find_symbol(library, "yq_backend_entry") : nullptr;
    if (library && !symbol) reason = "it exports no yq_backend_entry";
    if (symbol) {
        const yqb_api *api = reinterpret_cast<yqb_entry_fn>(symbol)(YQ_BACKEND_VERSION);
        reason = table_fault(api, name);
        if (reason.empty()) {
            yqb_error why = {};
            module.api = api;
            const int32_t status = api->probe(&why);
            if (status == YQB_OK) return module;
            reason = why.text[0] ? why.text : status_name(status);
        }
    }
    module.status = YQ_EBACKEND;
    module.reason = reason;
    return module;
}

// The module, loaded. A module that was not there is looked for again: it may have been installed since.
Module get_module(const std::string &name) {
    const std::lock_guard<std::mutex> lock(registry_mutex);
    auto found = modules.find(name);
    if (found == modules.end() || found->second.status == YQ_ENOTFOUND) {
        Module module = load_module(name);
        found = modules.insert_or_assign(name, std::move(module)).first;
    }
    return found->second;
}

// The names of the modules beside the library when it was first asked: indices stay what they are.
const std::vector<std::string> &installed() {
    static const std::vector<std::string> names = [] {
        std::vector<std::string> list;
        std::error_code error;
        for (const auto &entry : std::filesystem::directory_iterator(library_folder(), error)) {
            const std::string name = module_name(path_to_utf8(entry.path().filename()));
            if (is_module_name(name)) list.push_back(name);
        }
        std::sort(list.begin(), list.end());
        return list;
    }();
    return names;
}

// Whether `backend` runs packages for `chip`.
bool serves(const yqb_api &backend, const std::string &chip) {
    const std::string targets = std::string(" ") + backend.targets + " ";
    return targets == " * " || targets.find(" " + chip + " ") != std::string::npos;
}

} // namespace

int32_t find_backend(const std::string &name, const std::string &chip, const yqb_api **out) {
    if (!is_module_name(name))
        return fail(YQ_EINVAL, "\"%.64s\" is no backend name: use lower-case letters, digits and _", name.c_str());
    const Module module = get_module(name);
    // First, as no SDK would help.
    if (module.api && !serves(*module.api, chip))
        return fail(YQ_EPACKAGE, "the package was compiled for %s, backend %s runs %s: quantize it for this target",
                    chip.c_str(), name.c_str(), module.api->targets);
    if (module.status != YQ_OK)
        return fail(module.status, "backend \"%s\" cannot be used: %s", name.c_str(), module.reason.c_str());
    *out = module.api;
    return YQ_OK;
}

uint32_t backend_count() {
    return static_cast<uint32_t>(installed().size());
}

int32_t backend_info(uint32_t index, yq_backend_desc *desc) {
    if (index >= installed().size())
        return fail(YQ_EINVAL, "backend index %u is not below yq_backend_count() = %zu", index, installed().size());
    const std::string &name = installed()[index];
    const Module module = get_module(name);
    desc->usable = module.status == YQ_OK;
    copy_text(desc->name, sizeof desc->name, name.c_str());
    copy_text(desc->version, sizeof desc->version, module.api ? module.api->sdk_version() : "");
    copy_text(desc->reason, sizeof desc->reason, module.reason.c_str());
    return YQ_OK;
}

} // namespace yq
