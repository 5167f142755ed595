// SPDX-License-Identifier: Apache-2.0
// A detection head as data. Meaning of every field and formulas: docs/package-format.md, "Heads".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace yq {

enum class BoxForm { ltrb, anchor, exp, cxcywh, xyxy };
enum class ScoreForm { logit, probability };
enum class Role { box, score, objectness, combined, end2end };
enum class DType { uint8, int8, float16, float32 };

struct HeadOutput {
    size_t tensor; // index into the artefact's outputs
    Role role;
    size_t level; // index into strides; 0 for heads without levels
};

struct Anchor {
    float width, height; // input pixels
};

struct BoxScale { // factors of a box's sides about its centre
    float width = 1, height = 1;
};

struct HeadSpec {
    BoxForm box = BoxForm::ltrb;
    ScoreForm score = ScoreForm::logit;
    int32_t reg_max = 1;
    bool objectness = false;
    bool nms = false;
    bool box_voting = false; // of nms
    BoxScale box_scale;
    std::vector<int32_t> strides;
    std::vector<std::vector<Anchor>> anchors; // by level
    std::vector<HeadOutput> outputs;
};

// An output of the artefact. real = (stored - zero_point) * scale; scale 0: stored values are real.
struct TensorSpec {
    std::string name;
    DType dtype = DType::float32;
    std::vector<int64_t> shape; // batch first
    int32_t channel_axis = 1;   // as in the manifest; negative counts from the end
    float scale = 0;
    int32_t zero_point = 0;

    uint64_t bytes() const;
};

} // namespace yq
