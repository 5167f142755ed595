// SPDX-License-Identifier: Apache-2.0
// Letterbox: a checked picture of any format becomes uint8 NHWC of the model's size, channels in the model's order.
// Rule and formulas: docs/package-format.md, "Letterbox".
#pragma once

#include <cstdint>
#include <memory>

#include "image.h"

namespace yq {

struct LetterboxRule {
    int32_t width = 0, height = 0; // of the model's input, in pixels
    bool bgr = false;              // order of the channels written: false RGB, true BGR
    bool center = true;            // false: the picture lies at the top left
    bool upscale = true;           // false: small pictures keep their size
    uint8_t pad = 114;             // value of every channel outside the picture
};

// Where a picture lies in the model's input, and how boxes go back.
struct LetterboxBox {
    int32_t left, top, width, height; // of the resized picture, in input pixels
    float scale_x, scale_y;           // source pixels per input pixel
};

LetterboxBox letterbox_box(int32_t source_width, int32_t source_height, const LetterboxRule &rule);

struct Kernels; // preprocess_kernels.h

// Runs letterboxes of one rule. Holds row buffers made once: run() allocates nothing. One thread at a time.
class Letterboxer {
public:
    // kernels: nullptr for the fastest of this machine; tests choose others.
    explicit Letterboxer(const LetterboxRule &rule, const Kernels *kernels = nullptr);
    ~Letterboxer();
    Letterboxer(const Letterboxer &) = delete;
    Letterboxer &operator=(const Letterboxer &) = delete;

    // Writes rule.height * rule.width * 3 bytes at `output`; returns where the picture lies in it.
    LetterboxBox run(const ImageView &image, uint8_t *output);

private:
    struct Rows;
    void write_row(const ImageView &image, const LetterboxBox &box, int32_t y, uint8_t *out);
    LetterboxRule rule_;
    std::unique_ptr<Rows> rows_;
};

// The instruction set the kernels run with on this machine, such as "avx2"; for logs and benchmarks.
const char *preprocess_isa();

} // namespace yq
