// SPDX-License-Identifier: Apache-2.0
// UTF-8 text in fixed buffers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

// Lets the compiler check printf arguments: `text` is the format's parameter, `values` the first value's.
#if defined(__MINGW32__)
#define YQ_PRINTF(text, values) __attribute__((format(gnu_printf, text, values)))
#elif defined(__GNUC__)
#define YQ_PRINTF(text, values) __attribute__((format(printf, text, values)))
#else
#define YQ_PRINTF(text, values)
#endif

namespace yq {

// Bytes of the UTF-8 character at `text` (NUL-terminated); 0 if these bytes are none.
inline size_t character_bytes(const unsigned char *text) {
    const unsigned char lead = text[0];
    const size_t bytes = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
    uint32_t code = bytes < 2 ? lead : lead & (0x7Fu >> bytes);
    for (size_t i = 1; i < bytes; ++i) {
        if ((text[i] & 0xC0) != 0x80) return 0;
        code = code << 6 | (text[i] & 0x3Fu);
    }
    const bool longer_than_needed = (bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000);
    const bool no_character = (code >= 0xD800 && code < 0xE000) || code > 0x10FFFF;
    return longer_than_needed || no_character ? 0 : bytes;
}

// Turns control characters into blanks and what is no UTF-8 into '?', and drops a character that a cut left incomplete
// at the end. Never makes the text longer.
inline void one_line(char *text) {
    auto *bytes = reinterpret_cast<unsigned char *>(text);
    size_t length = std::strlen(text);
    for (size_t i = 0; i < length;) {
        const size_t character = character_bytes(bytes + i);
        if (character == 0) {
            size_t rest = 1; // continuation bytes up to the end: a cut
            while (i + rest < length && (bytes[i + rest] & 0xC0) == 0x80) ++rest;
            if (bytes[i] >= 0xC2 && i + rest == length && rest < 4)
                length = i;
            else
                bytes[i] = '?';
        } else if (bytes[i] < 0x20 || bytes[i] == 0x7F) {
            bytes[i] = ' ';
        }
        i += character ? character : 1;
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
