// SPDX-License-Identifier: Apache-2.0
// What a package says of itself: manifest.json as data. Format: docs/package-format.md. Files are package.cpp's
// business.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <stdexcept>
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

// What is wrong with a package, in one line.
struct PackageFault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct FileDigest {
    uint64_t size;
    std::string sha256;
};

// Fills all of *out but `folder`. Returns the files the manifest names. Throws PackageFault.
std::map<std::string, FileDigest> parse_manifest(const std::string &text, Package *out);

} // namespace yq
