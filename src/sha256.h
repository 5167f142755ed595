// SPDX-License-Identifier: Apache-2.0
// SHA-256 by a well-kept library: Mbed TLS, or Windows' own CNG.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace yq {

class Sha256 {
public:
    Sha256(); // throws std::bad_alloc, or std::runtime_error if the system's provider fails
    ~Sha256();
    Sha256(const Sha256 &) = delete;
    Sha256 &operator=(const Sha256 &) = delete;

    void update(const void *data, size_t bytes);
    std::string hex(); // 64 lower-case digits; once

private:
    struct State;
    std::unique_ptr<State> state_;
};

} // namespace yq
