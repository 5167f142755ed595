// SPDX-License-Identifier: Apache-2.0
// The order of a detection. This file alone knows it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "decode.h"
#include "engine.h"
#include "nms.h"
#include "package.h"
#include "preprocess.h"
#include "stats.h"

namespace yq {

// Where a call's results go. counts, and statuses if wanted, have one entry a picture.
struct Results {
    yq_detection *detections = nullptr;
    uint32_t capacity_each = 0;
    uint32_t *counts = nullptr;
    int32_t *statuses = nullptr; // may be nullptr
};

// All functions may be called from any thread at once.
class Detector {
public:
    // options: complete (the caller's, widened by defaults); path: UTF-8.
    static int32_t create(const char *path, const yq_options &options, std::unique_ptr<Detector> *out);

    // Finds objects in n pictures that lie `step` bytes apart. `call` carries wishes in and times out.
    int32_t infer(const yq_image *images, size_t step, uint32_t n, yq_call &call, const Results &results);

    void info(yq_info *info) const;           // all but size
    void stats(yq_stats *stats);              // all but size
    const char *class_name(int32_t id) const; // nullptr if there is no such class

private:
    struct Settings {
        float score_threshold, iou_threshold;
        uint32_t max_detections, timeout_ms;
    };
    struct Picture { // one in flight
        uint32_t index;
        ImageView view;
        LetterboxBox box;
    };
    struct Stream { // what a slot works with; made once
        Stream(const LetterboxRule &rule, size_t candidates, size_t votes, size_t tensors, uint32_t batch);
        Letterboxer letterboxer;
        CandidateList candidates;
        std::vector<BoxVotes> votes; // of box voting; else empty
        std::vector<const void *> tensors;
        std::vector<Picture> pictures; // room for a batch
        Clock::time_point submitted;
        float queue_ms = 0, preprocess_ms = 0; // per picture
    };
    struct Run; // one call

    Detector() = default;
    int32_t set_up(const yq_options &options);
    int32_t settings(const yq_call &call, Settings *out) const;
    bool next_picture(Run &run);
    void start(Run &run, uint32_t slot);
    void finish(Run &run, uint32_t slot);
    void letterbox(uint32_t slot, Stream &stream, uint32_t index);
    void write(Run &run, const Picture &picture, const CandidateList &candidates);
    void picture_failed(Run &run, uint32_t index, int32_t status);
    void rest_failed(Run &run, int32_t status);

    Package package_;
    yq_options options_{};
    std::string device_;
    const yqb_api *api_ = nullptr;
    Stats stats_;
    std::unique_ptr<Decoder> decoder_;
    std::vector<std::unique_ptr<Stream>> streams_; // by slot
    std::unique_ptr<Engine> engine_;               // last: ends first
};

} // namespace yq
