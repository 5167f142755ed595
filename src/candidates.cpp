// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <stdexcept>

#include "decode.h"

namespace yq {

CandidateList::CandidateList(size_t limit) : limit_(limit) {
    if (limit == 0) throw std::invalid_argument("a candidate list needs room for at least 1 candidate");
    items_.reset(new Candidate[2 * limit]); // not value-initialised: pages that are never used cost nothing
}

void CandidateList::clear() {
    size_ = 0;
    floor_ = 0;
}

void CandidateList::add(const Candidate &candidate) {
    if (candidate.score < floor_) return;
    items_[size_++] = candidate;
    if (size_ == 2 * limit_) keep_best();
}

// before() orders all candidates of a picture strictly, so the ones that stay do not depend on the order of arrival.
void CandidateList::keep_best() {
    Candidate *const worst_kept = items_.get() + limit_ - 1;
    std::nth_element(items_.get(), worst_kept, items_.get() + size_, before);
    size_ = limit_;
    floor_ = worst_kept->score;
}

void CandidateList::finish() {
    if (size_ > limit_) keep_best();
    std::sort(items_.get(), items_.get() + size_, before);
}

void CandidateList::truncate(size_t count) {
    size_ = std::min(size_, count);
}

} // namespace yq
