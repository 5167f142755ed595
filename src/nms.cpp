// SPDX-License-Identifier: Apache-2.0
#include "nms.h"

#include <algorithm>

namespace yq {

namespace {

// A box that overlaps less is suppressed where the threshold says so, but may be of another object: it has no vote.
constexpr float least_vote = 0.7f;

float iou(const Candidate &a, const Candidate &b) {
    const float width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
    const float height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
    if (width <= 0 || height <= 0) return 0; // true as well if a box has no area
    const float common = width * height;
    const float all = (a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - common;
    return common / all; // at most 1, rounded too: either area is at least common
}

// The best of the first `count` kept candidates that suppresses this one, and their IoU; `count` if none does.
size_t suppressor(const Candidate &candidate, const Candidate *kept, size_t count, float iou_threshold, float *common) {
    for (size_t i = 0; i < count; ++i) {
        if (kept[i].class_id != candidate.class_id) continue;
        *common = iou(kept[i], candidate);
        if (*common > iou_threshold) return i;
    }
    return count;
}

void vote(BoxVotes &votes, const Candidate &candidate, float common) {
    const double weight = static_cast<double>(candidate.score) * static_cast<double>(common);
    const float sides[4] = {candidate.x1, candidate.y1, candidate.x2, candidate.y2};
    for (size_t side = 0; side < 4; ++side) votes.sides[side] += weight * static_cast<double>(sides[side]);
    votes.weight += weight;
}

void elect(Candidate &candidate, const BoxVotes &votes) {
    candidate.x1 = static_cast<float>(votes.sides[0] / votes.weight);
    candidate.y1 = static_cast<float>(votes.sides[1] / votes.weight);
    candidate.x2 = static_cast<float>(votes.sides[2] / votes.weight);
    candidate.y2 = static_cast<float>(votes.sides[3] / votes.weight);
}

} // namespace

void nms(CandidateList &list, float iou_threshold, size_t max_detections, BoxVotes *votes) {
    Candidate *const items = list.data();
    size_t kept = 0;
    for (size_t i = 0; i < list.size() && (votes || kept < max_detections); ++i) {
        float common = 0;
        const size_t by = suppressor(items[i], items, kept, iou_threshold, &common);
        if (by < kept) {
            if (votes && common > least_vote) vote(votes[by], items[i], common);
        } else if (kept < max_detections) {
            items[kept] = items[i];
            if (votes) {
                votes[kept] = {};
                vote(votes[kept], items[kept], 1);
            }
            ++kept;
        }
    }
    // Only now: what is suppressed must not depend on votes.
    for (size_t i = 0; votes && i < kept; ++i) elect(items[i], votes[i]);
    list.truncate(kept);
}

} // namespace yq
