// SPDX-License-Identifier: Apache-2.0
// Raw head tensors become candidates: float32, only what reaches the threshold, multi-label.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "head.h"

namespace yq {

struct Candidate {
    float x1, y1, x2, y2; // input pixels, not clipped
    float score;
    int32_t class_id;
    uint32_t position; // place of the (cell, anchor) in the head: level by level, row by row, anchor by anchor
};

// The one order of candidates and results: score (high first), class, position.
inline bool before(const Candidate &a, const Candidate &b) {
    if (a.score != b.score) return a.score > b.score;
    if (a.class_id != b.class_id) return a.class_id < b.class_id;
    return a.position < b.position;
}

// Candidates of one picture, bounded: of more than `limit` the best are kept, whatever order they came in.
// Memory is made once; nothing allocates afterwards.
class CandidateList {
public:
    explicit CandidateList(size_t limit);

    void clear();
    // Scores below this cannot enter any more: 0 at first, rises when the list overflows.
    float floor() const { return floor_; }
    void add(const Candidate &candidate);
    // Keeps the best `limit` and sorts by before(). Call once after the last add.
    void finish();

    Candidate *data() { return items_.get(); }
    const Candidate *data() const { return items_.get(); }
    size_t size() const { return size_; }
    void truncate(size_t count); // keeps the first `count`

private:
    void keep_best();
    std::unique_ptr<Candidate[]> items_; // 2 * limit
    size_t limit_, size_ = 0;
    float floor_ = 0;
};

class Decoder {
public:
    // Throws std::invalid_argument with the reason if head and tensors do not fit one another: wrong ranks, channel
    // counts, level sizes, missing roles. All shapes are checked here, so that run() can trust them.
    Decoder(const HeadSpec &head, const std::vector<TensorSpec> &tensors, int32_t class_count, int32_t input_width,
            int32_t input_height);
    ~Decoder();

    // tensors: the artefact's output buffers, in the order of the specs. picture: index in the batch.
    // Adds every candidate whose score >= threshold (threshold > 0). NaN scores and boxes are dropped. Does not call
    // finish(). Thread-safe, allocates nothing.
    void run(const void *const *tensors, uint32_t picture, float threshold, CandidateList &out) const;

private:
    struct Plan;
    std::unique_ptr<Plan> plan_;
};

} // namespace yq
