// SPDX-License-Identifier: Apache-2.0
// Counters and times of a detector; written by many threads, lock-free, read without stopping them.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "yoloq.h"

namespace yq {

// Times in geometric bins: a percentile is right within the bins' ratio of 4 %.
class Histogram {
public:
    void record(float ms);
    yq_stage_stats read() const;

private:
    static constexpr int bins = 512; // 1 us * 1.04^511 = 5e8 us
    static int bin_of(float ms);
    float percentile(double share, uint64_t total) const;

    std::array<std::atomic<uint64_t>, bins> counts_{};
    std::atomic<uint64_t> total_ns_{0};
    std::atomic<float> max_ms_{0};
};

struct Stats {
    std::atomic<uint64_t> pictures{0}, errors{0}, timeouts{0}, device_lost{0}, device_recovered{0}, detections{0};
    Histogram total, queue, preprocess, engine, decode;
};

} // namespace yq
