// SPDX-License-Identifier: Apache-2.0
#include "head.h"

namespace yq {

uint64_t TensorSpec::bytes() const {
    uint64_t count = dtype == DType::float32 ? 4 : dtype == DType::float16 ? 2 : 1;
    for (const int64_t dim : shape) count *= static_cast<uint64_t>(dim);
    return count;
}

} // namespace yq
