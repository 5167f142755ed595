// SPDX-License-Identifier: Apache-2.0
// UTF-8 text in fixed buffers.
#pragma once

#include <cstddef>
#include <cstring>

namespace yq {

// Turns control characters into blanks and drops a character that a cut left incomplete at the end.
inline void one_line(char *text) {
    size_t length = std::strlen(text);
    for (size_t i = 0; i < length; ++i)
        if (static_cast<unsigned char>(text[i]) < 0x20) text[i] = ' ';
    size_t start = length; // of the last character
    while (start > 0 && length - start < 3 && (static_cast<unsigned char>(text[start - 1]) & 0xC0) == 0x80) --start;
    if (start > 0) {
        const unsigned char lead = static_cast<unsigned char>(text[start - 1]);
        const size_t want = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
        if (want > 1 && length - start + 1 < want) length = start - 1;
    }
    while (length > 0 && text[length - 1] == ' ') --length;
    text[length] = '\0';
}

// Copies `source` into a field of `size` bytes, cut at a whole character.
inline void copy_text(char *field, size_t size, const char *source) {
    const size_t length = std::strlen(source);
    const size_t kept = length < size ? length : size - 1;
    std::memcpy(field, source, kept);
    std::memset(field + kept, 0, size - kept);
    one_line(field);
}

} // namespace yq
