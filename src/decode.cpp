// SPDX-License-Identifier: Apache-2.0
// The walk over a checked head (decode_plan.h): a cheap test of the stored values against the lowest one that could
// pass, block by block, then the exact test and the box for the few that are left.
#include "decode.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "decode_plan.h"
#include "decode_read.h"

namespace yq {

namespace {

constexpr size_t kChunk = 512; // cells whose boxes are remembered, so that many classes cost one box
constexpr size_t kBlock = 64;  // values per quick test

struct Box {
    float x1, y1, x2, y2;
};

float sigmoid(float x) {
    return 1.0f / (1.0f + std::exp(-x));
}

// A factor of the score, in [0, 1] or NaN. Probabilities above 1 are rounding (of a quantised sigmoid, say).
float probability(ScoreForm form, float raw) {
    if (form == ScoreForm::logit) return sigmoid(raw);
    return std::isfinite(raw) ? std::min(raw, 1.0f) : std::numeric_limits<float>::quiet_NaN();
}

// No raw value below this has a probability of `threshold` or more: for logits a little low, because sigmoid rounds.
float raw_floor(ScoreForm form, float threshold) {
    if (form == ScoreForm::probability) return threshold;
    const double p = static_cast<double>(threshold) * (1 - 1e-6);
    if (!(p > 0)) return -std::numeric_limits<float>::infinity();
    if (p >= 1) return std::numeric_limits<float>::infinity();
    const auto logit = static_cast<float>(std::log(p / (1 - p)));
    return std::nextafter(logit, -std::numeric_limits<float>::infinity());
}

// The picture's part of a view's tensor.
const void *picture_data(const ChannelView &view, const void *const *tensors, uint32_t picture) {
    const size_t size = view.dtype == DType::float32 ? 4 : view.dtype == DType::float16 ? 2 : 1;
    return static_cast<const char *>(tensors[view.tensor]) + picture * view.picture_step * size;
}

// The mean bin under softmax of one side of an ltrb box, in cells.
float ltrb_distance(const ChannelView &view, const void *data, size_t cell, size_t side, size_t reg_max) {
    const size_t first = side * reg_max;
    if (reg_max == 1) return load(view, data, cell, first);
    float highest = load(view, data, cell, first);
    for (size_t bin = 1; bin < reg_max; ++bin) highest = std::max(highest, load(view, data, cell, first + bin));
    float sum = 0, weighted = 0;
    for (size_t bin = 0; bin < reg_max; ++bin) {
        const float weight = std::exp(load(view, data, cell, first + bin) - highest);
        sum += weight;
        weighted += weight * static_cast<float>(bin);
    }
    return weighted / sum;
}

Box from_center(float cx, float cy, float width, float height) {
    return {cx - width * 0.5f, cy - height * 0.5f, cx + width * 0.5f, cy + height * 0.5f};
}

Box decode_box(const HeadPlan &plan, const HeadGroup &group, const void *data, size_t cell) {
    const auto column = static_cast<float>(cell % group.columns), row = static_cast<float>(cell / group.columns);
    const float stride = group.stride;
    float t[4];
    for (size_t i = 0; i < 4; ++i) {
        t[i] = plan.box == BoxForm::ltrb ? ltrb_distance(group.box, data, cell, i, plan.reg_max)
                                         : load(group.box, data, cell, i);
    }
    switch (plan.box) {
    case BoxForm::ltrb:
        return {(column + 0.5f - t[0]) * stride, (row + 0.5f - t[1]) * stride, (column + 0.5f + t[2]) * stride,
                (row + 0.5f + t[3]) * stride};
    case BoxForm::anchor: {
        const float width = 2 * sigmoid(t[2]), height = 2 * sigmoid(t[3]);
        return from_center((2 * sigmoid(t[0]) - 0.5f + column) * stride, (2 * sigmoid(t[1]) - 0.5f + row) * stride,
                           width * width * group.anchor.width, height * height * group.anchor.height);
    }
    case BoxForm::exp:
        return from_center((t[0] + column) * stride, (t[1] + row) * stride, std::exp(t[2]) * stride,
                           std::exp(t[3]) * stride);
    case BoxForm::cxcywh: return from_center(t[0], t[1], t[2], t[3]);
    default: return {t[0], t[1], t[2], t[3]};
    }
}

bool finite(const Box &box) {
    return std::isfinite(box.x1) && std::isfinite(box.y1) && std::isfinite(box.x2) && std::isfinite(box.y2);
}

// Flags of the width of a key, so that compilers make vectors of the loop below.
template <size_t Bytes> struct FlagOf { using Type = uint32_t; };
template <> struct FlagOf<1> { using Type = uint8_t; };
template <> struct FlagOf<2> { using Type = uint16_t; };

// Does any of `count` values reach the key? No branch inside.
template <class T, class Key> inline bool any_reaches(const T *values, size_t count, Key lowest) {
    using Flag = typename FlagOf<sizeof(Key)>::Type;
    Flag any = 0;
    for (size_t i = 0; i < count; ++i) any |= static_cast<Flag>(key(values[i]) >= lowest);
    return any != 0;
}

// Decodes one group of one picture. T: the element type of the tensor that is scanned, which is the objectness if the
// head has it (a score cannot be above its objectness), else the scores.
template <class T> class GroupScan {
public:
    GroupScan(const HeadPlan &plan, const HeadGroup &group, const void *const *tensors, uint32_t picture,
              float threshold, CandidateList &out)
        : plan_(plan), group_(group), out_(out), view_(plan.objectness ? group.objectness : group.score),
          values_(static_cast<const T *>(picture_data(view_, tensors, picture)) + view_.first),
          boxes_data_(picture_data(group.box, tensors, picture)),
          scores_data_(picture_data(group.score, tensors, picture)) {
        raise(std::max(threshold, out.floor()));
    }

    void run() {
        for (size_t begin = 0; begin < group_.cells && reachable_; begin += kChunk) {
            std::fill_n(box_state_, kChunk, BoxState::unknown);
            chunk(begin, std::min(kChunk, group_.cells - begin));
        }
    }

private:
    enum class BoxState : uint8_t { unknown, good, bad };

    void chunk(size_t begin, size_t cells) {
        const size_t channels = plan_.objectness ? 1 : plan_.classes;
        if (view_.cell_step == 1) { // planes
            for (size_t channel = 0; channel < channels; ++channel) {
                scan(values_ + channel * view_.channel_step + begin, cells,
                     [&](size_t i, T value) { hit(begin + i, channel, value); });
            }
        } else if (view_.cell_step == channels) { // rows without gaps: one long run
            scan(values_ + begin * channels, cells * channels,
                 [&](size_t i, T value) { hit(begin + i / channels, i % channels, value); });
        } else {
            for (size_t cell = begin; cell < begin + cells; ++cell) {
                scan(values_ + cell * view_.cell_step, channels, [&](size_t i, T value) { hit(cell, i, value); });
            }
        }
    }

    // Calls found(index, value) for every value that may pass.
    template <class Found> void scan(const T *values, size_t count, Found found) {
        size_t i = 0;
        for (; i + kBlock <= count; i += kBlock) {
            if (any_reaches(values + i, kBlock, lowest_)) scan_each(values, i, i + kBlock, found);
        }
        if (any_reaches(values + i, count - i, lowest_)) scan_each(values, i, count, found);
    }

    template <class Found> void scan_each(const T *values, size_t begin, size_t end, Found found) {
        for (size_t i = begin; i < end; ++i) {
            if (key(values[i]) >= lowest_) found(i, values[i]);
        }
    }

    void hit(size_t cell, size_t class_id, T value) {
        const float first = probability(plan_.score, real(view_, value));
        if (!plan_.objectness) return add(cell, class_id, first);
        if (!(first >= threshold_)) return;
        for (size_t i = 0; i < plan_.classes; ++i) {
            const float raw = load(group_.score, scores_data_, cell, i);
            if (raw >= floor_) add(cell, i, first * probability(plan_.score, raw));
        }
    }

    void add(size_t cell, size_t class_id, float score) {
        if (!(score >= threshold_)) return; // NaN too
        const size_t slot = cell % kChunk;
        if (box_state_[slot] == BoxState::unknown) {
            boxes_[slot] = decode_box(plan_, group_, boxes_data_, cell);
            box_state_[slot] = finite(boxes_[slot]) ? BoxState::good : BoxState::bad;
        }
        if (box_state_[slot] == BoxState::bad) return;
        const Box &box = boxes_[slot];
        out_.add({box.x1, box.y1, box.x2, box.y2, score, static_cast<int32_t>(class_id),
                  group_.position + static_cast<uint32_t>(cell) * group_.position_step});
        if (out_.floor() > threshold_) raise(out_.floor());
    }

    void raise(float threshold) {
        threshold_ = threshold;
        floor_ = raw_floor(plan_.score, threshold);
        reachable_ = lowest_key(view_, floor_, &lowest_);
    }

    const HeadPlan &plan_;
    const HeadGroup &group_;
    CandidateList &out_;
    const ChannelView &view_;
    const T *const values_;
    const void *const boxes_data_, *const scores_data_;
    float threshold_ = 0, floor_ = 0; // of the score, and of its raw factors
    decltype(key(T())) lowest_ = 0;   // of the stored values
    bool reachable_ = true;
    Box boxes_[kChunk];
    BoxState box_state_[kChunk];
};

void run_rows(const HeadPlan &plan, const HeadGroup &group, const void *const *tensors, uint32_t picture,
              float threshold, CandidateList &out) {
    const void *const data = picture_data(group.score, tensors, picture);
    for (size_t row = 0; row < group.cells; ++row) {
        const float score = probability(plan.score, load(group.score, data, row, 0));
        if (!(score >= threshold)) continue;
        const float label = load(group.label, data, row, 0);
        if (!(label >= 0 && label < static_cast<float>(plan.classes)) || label != std::floor(label)) continue;
        const Box box = decode_box(plan, group, data, row);
        if (!finite(box)) continue;
        out.add({box.x1, box.y1, box.x2, box.y2, score, static_cast<int32_t>(label),
                 group.position + static_cast<uint32_t>(row) * group.position_step});
    }
}

} // namespace

struct Decoder::Plan : HeadPlan {
    explicit Plan(HeadPlan &&plan) : HeadPlan(std::move(plan)) {}
};

Decoder::Decoder(const HeadSpec &head, const std::vector<TensorSpec> &tensors, int32_t class_count, int32_t input_width,
                 int32_t input_height)
    : plan_(new Plan(make_head_plan(head, tensors, class_count, input_width, input_height))) {}

Decoder::~Decoder() = default;

void Decoder::run(const void *const *tensors, uint32_t picture, float threshold, CandidateList &out) const {
    const HeadPlan &plan = *plan_;
    for (const HeadGroup &group : plan.groups) {
        if (plan.end2end) {
            run_rows(plan, group, tensors, picture, threshold, out);
            continue;
        }
        switch ((plan.objectness ? group.objectness : group.score).dtype) {
        case DType::float32: GroupScan<float>(plan, group, tensors, picture, threshold, out).run(); break;
        case DType::float16: GroupScan<Half>(plan, group, tensors, picture, threshold, out).run(); break;
        case DType::int8: GroupScan<int8_t>(plan, group, tensors, picture, threshold, out).run(); break;
        case DType::uint8: GroupScan<uint8_t>(plan, group, tensors, picture, threshold, out).run(); break;
        }
    }
}

} // namespace yq
