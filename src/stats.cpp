// SPDX-License-Identifier: Apache-2.0
#include "stats.h"

#include <algorithm>
#include <cmath>

namespace yq {
namespace {

constexpr float first_ms = 1e-3f;
constexpr float ratio = 1.04f;

} // namespace

int Histogram::bin_of(float ms) {
    if (!(ms > first_ms)) return 0;
    return std::min(bins - 1, static_cast<int>(std::log(ms / first_ms) / std::log(ratio)));
}

void Histogram::record(float ms) {
    counts_[static_cast<size_t>(bin_of(ms))].fetch_add(1, std::memory_order_relaxed);
    total_ns_.fetch_add(static_cast<uint64_t>(std::max(0.f, ms) * 1e6f), std::memory_order_relaxed);
    float seen = max_ms_.load(std::memory_order_relaxed);
    while (ms > seen && !max_ms_.compare_exchange_weak(seen, ms, std::memory_order_relaxed)) {}
}

float Histogram::percentile(double share, uint64_t total) const {
    const uint64_t wanted = static_cast<uint64_t>(std::ceil(share * static_cast<double>(total)));
    uint64_t seen = 0;
    for (int bin = 0; bin < bins; ++bin) {
        seen += counts_[static_cast<size_t>(bin)].load(std::memory_order_relaxed);
        if (seen >= wanted) return first_ms * std::pow(ratio, static_cast<float>(bin) + 0.5f);
    }
    return max_ms_;
}

yq_stage_stats Histogram::read() const {
    uint64_t total = 0;
    for (const auto &count : counts_) total += count.load(std::memory_order_relaxed);
    if (total == 0) return {};
    yq_stage_stats stats{};
    stats.max_ms = max_ms_;
    stats.mean_ms = static_cast<float>(static_cast<double>(total_ns_) * 1e-6 / static_cast<double>(total));
    stats.p50_ms = std::min(percentile(0.50, total), stats.max_ms);
    stats.p99_ms = std::min(percentile(0.99, total), stats.max_ms);
    return stats;
}

} // namespace yq
