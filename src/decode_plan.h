// SPDX-License-Identifier: Apache-2.0
// A head and its tensors, checked and resolved into plain strides: what the decoder walks. Internal to the decoder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "head.h"

namespace yq {

// Where some channels lie in an output tensor. Every layout is one of these; steps and places count elements.
struct ChannelView {
    size_t tensor = 0;
    DType dtype = DType::float32;
    float scale = 1; // real = (stored - zero_point) * scale, for integers
    int32_t zero_point = 0;
    size_t picture_step = 0;
    size_t first = 0;                       // channel 0 of cell 0 of a picture
    size_t channel_step = 0, cell_step = 0; // one of them is 1
};

// One anchor of one level, or the whole of a dense or end-to-end head.
struct HeadGroup {
    ChannelView box;
    ChannelView score;
    ChannelView objectness; // heads with objectness only
    ChannelView label;      // end-to-end heads only
    size_t cells = 0;
    size_t columns = 1; // cells per row of the level
    float stride = 1;   // pixels per cell
    Anchor anchor = {1, 1};
    uint32_t position = 0, position_step = 1; // Candidate::position of cell 0, and from cell to cell
};

struct HeadPlan {
    BoxForm box = BoxForm::ltrb;
    ScoreForm score = ScoreForm::logit;
    size_t reg_max = 1;
    size_t classes = 0;
    bool objectness = false;
    bool end2end = false;
    std::vector<HeadGroup> groups;
};

// Throws std::invalid_argument, one line, if head and tensors do not fit one another.
HeadPlan make_head_plan(const HeadSpec &head, const std::vector<TensorSpec> &tensors, int32_t class_count,
                        int32_t input_width, int32_t input_height);

} // namespace yq
