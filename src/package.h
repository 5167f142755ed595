// SPDX-License-Identifier: Apache-2.0
// A model package, read and checked to the last byte. Format: docs/package-format.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "head.h"
#include "preprocess.h"

namespace yq {

struct Artifact {
    std::string file; // name inside the package
    uint32_t batch;
};

struct Defaults {
    float score_threshold = 0.25f;
    float iou_threshold = 0.7f;
    uint32_t max_detections = 300;
    uint32_t streams = 1;
    uint32_t timeout_ms = 10000;
};

struct Package {
    std::filesystem::path folder; // absolute
    uint32_t format = 0;
    std::string name, task, precision, chip, backend;
    std::vector<std::string> classes;
    std::string input_name;
    LetterboxRule letterbox;
    HeadSpec head;
    std::vector<TensorSpec> outputs;
    std::vector<Artifact> artifacts; // 1 or more, smallest batch first
    std::vector<std::pair<std::string, std::string>> backend_options;
    Defaults defaults;
};

// Reads and checks the package at `path` (UTF-8): the manifest's digest and fields, every file's size and SHA-256.
// ENOTFOUND or EPACKAGE with the reason, ENOMEM.
int32_t read_package(const char *path, Package *out);

} // namespace yq
