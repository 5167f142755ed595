// SPDX-License-Identifier: Apache-2.0
// Greedy class-aware non-maximum suppression, with box voting where it is asked for.
#pragma once

#include <cstddef>

#include "decode.h"

namespace yq {

// What a kept candidate and those that it suppressed say of the box: sums of score * IoU * side, and of score * IoU.
struct BoxVotes {
    double sides[4], weight;
};

// Keeps, in order, each candidate whose IoU with every kept one of its class is at most iou_threshold, until
// max_detections are kept. `list` is finished (sorted); stays sorted. Allocates nothing. Boxes of no area have IoU 0.
// votes: nullptr, or room for max_detections. With it each kept box becomes the mean of its own and of those that it
// suppressed with an IoU above 0.7 (box voting: Gidaris and Komodakis, ICCV 2015), weighted by score and by IoU. What
// is kept stays the same.
void nms(CandidateList &list, float iou_threshold, size_t max_detections, BoxVotes *votes = nullptr);

} // namespace yq
