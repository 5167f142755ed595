// SPDX-License-Identifier: Apache-2.0
#include "nms.h"

#include <algorithm>

namespace yq {

namespace {

float iou(const Candidate &a, const Candidate &b) {
    const float width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
    const float height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
    if (width <= 0 || height <= 0) return 0; // true as well if a box has no area
    const float common = width * height;
    const float all = (a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - common;
    return common / all; // at most 1, rounded too: either area is at least common
}

bool suppressed(const Candidate &candidate, const Candidate *kept, size_t count, float iou_threshold) {
    for (size_t i = 0; i < count; ++i) {
        if (kept[i].class_id == candidate.class_id && iou(kept[i], candidate) > iou_threshold) return true;
    }
    return false;
}

} // namespace

void nms(CandidateList &list, float iou_threshold, size_t max_detections) {
    Candidate *const items = list.data();
    size_t kept = 0;
    for (size_t i = 0; i < list.size() && kept < max_detections; ++i) {
        if (!suppressed(items[i], items, kept, iou_threshold)) items[kept++] = items[i];
    }
    list.truncate(kept);
}

} // namespace yq
