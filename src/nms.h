// SPDX-License-Identifier: Apache-2.0
// Greedy class-aware non-maximum suppression.
#pragma once

#include <cstddef>

#include "decode.h"

namespace yq {

// Keeps, in order, each candidate whose IoU with every kept one of its class is at most iou_threshold, until
// max_detections are kept. `list` is finished (sorted); stays sorted. Allocates nothing. Boxes of no area have IoU 0.
void nms(CandidateList &list, float iou_threshold, size_t max_detections);

} // namespace yq
