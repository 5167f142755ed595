// SPDX-License-Identifier: Apache-2.0
#include "detector.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "log.h"
#include "platform.h"
#include "registry.h"
#include "status.h"
#include "text.h"

namespace yq {
namespace {

// Of a picture's candidates at most this many are looked at, the best ones: as many as the field's usual tools take.
constexpr size_t most_candidates = 30000;

bool is_share(float value) {
    return value > 0 && value <= 1;
} // false for NaN

// Drops, in place, boxes that lie wholly outside the picture or have no area: they must not use up max_detections.
void drop_outside(CandidateList &list, const LetterboxBox &box) {
    const auto left = static_cast<float>(box.left), right = static_cast<float>(box.left + box.width);
    const auto top = static_cast<float>(box.top), bottom = static_cast<float>(box.top + box.height);
    Candidate *const end = std::remove_if(list.data(), list.data() + list.size(), [&](const Candidate &c) {
        return !(std::min(c.x2, right) > std::max(c.x1, left) && std::min(c.y2, bottom) > std::max(c.y1, top));
    });
    list.truncate(static_cast<size_t>(end - list.data()));
}

// What a box covers of one side of a picture that is `length` long; pixels.
struct Span {
    float low, high;
};

// Scaled about its centre. An end that the picture cuts off stays, and so does some of it.
Span scaled(Span span, float scale, float length) {
    const float move = (span.high - span.low) * (scale - 1) * 0.5f;
    if (span.low > 0) span.low = std::max(span.low - move, 0.f);
    if (span.high < length) span.high = std::min(span.high + move, length);
    return span;
}

bool is_index(const std::string &text) {
    return !text.empty() && text.size() <= 9 &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

} // namespace

Detector::Stream::Stream(const LetterboxRule &rule, size_t candidate_limit, size_t vote_count, size_t tensor_count,
                         uint32_t batch)
    : letterboxer(rule), candidates(candidate_limit), votes(vote_count), tensors(tensor_count) {
    pictures.reserve(batch);
}

// One call: its pictures, what was asked, and how far it is.
struct Detector::Run {
    const unsigned char *images;
    size_t step;
    uint32_t count;
    Settings settings;
    Deadline deadline;
    yq_call &call;
    const Results &results;

    uint32_t next = 0;                    // picture to start next
    ImageView view{};                     // that picture, checked
    uint32_t flying[YQ_MAX_STREAMS] = {}; // slots at work, oldest first, a ring
    uint32_t oldest = 0, in_flight = 0;
    float queue_ms = 0; // of the slot just leased

    int32_t status = YQ_OK; // of the first failing picture
    uint32_t failed = UINT32_MAX;
    char reason[1024] = "";
};

// ------------------------------------------------------------------------------------------------------------- create

int32_t Detector::create(const char *path, const yq_options &options, std::unique_ptr<Detector> *out) {
    std::unique_ptr<Detector> detector(new Detector);
    YQ_TRY(read_package(path, &detector->package_));
    YQ_TRY(detector->set_up(options));
    *out = std::move(detector);
    return YQ_OK;
}

int32_t Detector::set_up(const yq_options &asked) {
    const Defaults &defaults = package_.defaults;
    options_ = asked;
    if (options_.score_threshold == 0) options_.score_threshold = defaults.score_threshold;
    if (options_.iou_threshold == 0) options_.iou_threshold = defaults.iou_threshold;
    if (options_.max_detections == 0) options_.max_detections = defaults.max_detections;
    if (options_.streams == 0) options_.streams = defaults.streams;
    if (options_.timeout_ms == 0) options_.timeout_ms = defaults.timeout_ms;
    device_ = asked.device ? asked.device : "0";
    const std::string backend = asked.backend ? asked.backend : package_.backend;
    options_.backend = options_.device = nullptr; // the caller's text is not kept

    if (!is_share(options_.score_threshold)) return fail(YQ_EINVAL, "score_threshold must be in (0, 1]");
    if (!is_share(options_.iou_threshold)) return fail(YQ_EINVAL, "iou_threshold must be in (0, 1]");
    if (options_.max_detections > YQ_MAX_DETECTIONS)
        return fail(YQ_EINVAL, "max_detections is %u, at most %d", options_.max_detections, YQ_MAX_DETECTIONS);
    if (options_.streams > YQ_MAX_STREAMS)
        return fail(YQ_EINVAL, "streams is %u, at most %d", options_.streams, YQ_MAX_STREAMS);
    if (options_.hint < YQ_HINT_DEFAULT || options_.hint > YQ_HINT_THROUGHPUT)
        return fail(YQ_EINVAL, "hint %d is no yq_hint", options_.hint);
    if (!is_index(device_))
        return fail(YQ_EINVAL, "device \"%.64s\" is no decimal index such as \"0\"", device_.c_str());
    SessionPlan plan;
    if (asked.cache_dir) {
        std::error_code error;
        plan.cache_dir = asked.cache_dir;
        options_.cache_dir = nullptr;
        if (!std::filesystem::is_directory(path_from_utf8(plan.cache_dir), error))
            return fail(YQ_EINVAL, "cache_dir \"%.600s\" is no folder: create it first", plan.cache_dir.c_str());
    }
    YQ_TRY(find_backend(backend, package_.chip, &api_));
    try {
        decoder_ =
            std::make_unique<Decoder>(package_.head, package_.outputs, static_cast<int32_t>(package_.classes.size()),
                                      package_.letterbox.width, package_.letterbox.height);
    } catch (const std::invalid_argument &error) {
        return fail(YQ_EPACKAGE, "package \"%.600s\": %s", path_to_utf8(package_.folder).c_str(), error.what());
    }
    plan.api = api_;
    plan.package = &package_;
    plan.device = device_;
    plan.streams = options_.streams;
    plan.hint = options_.hint;
    const size_t candidates = std::max<size_t>(most_candidates, options_.max_detections);
    const size_t votes = package_.head.box_voting ? options_.max_detections : 0;
    for (uint32_t i = 0; i < options_.streams; ++i)
        streams_.push_back(std::make_unique<Stream>(package_.letterbox, candidates, votes, package_.outputs.size(),
                                                    plan.artifact().batch));
    YQ_TRY(Engine::create(plan, &stats_, &engine_));
    log(YQ_LOG_INFO, "loaded %s for %s on backend %s (%s), %u stream(s), letterbox %s", package_.name.c_str(),
        package_.chip.c_str(), api_->name, api_->sdk_version(), options_.streams, preprocess_isa());
    return YQ_OK;
}

// -------------------------------------------------------------------------------------------------------------- infer

int32_t Detector::settings(const yq_call &call, Settings *out) const {
    *out = {options_.score_threshold, options_.iou_threshold, options_.max_detections, options_.timeout_ms};
    if (call.score_threshold != 0) out->score_threshold = call.score_threshold;
    if (call.iou_threshold != 0) out->iou_threshold = call.iou_threshold;
    if (call.timeout_ms != 0) out->timeout_ms = call.timeout_ms;
    if (!is_share(out->score_threshold)) return fail(YQ_EINVAL, "call.score_threshold must be in (0, 1], or 0");
    if (!is_share(out->iou_threshold)) return fail(YQ_EINVAL, "call.iou_threshold must be in (0, 1], or 0");
    return YQ_OK;
}

int32_t Detector::infer(const yq_image *images, size_t step, uint32_t n, yq_call &call, const Results &results) {
    call.found = 0;
    call.queue_ms = call.preprocess_ms = call.engine_ms = call.decode_ms = 0;
    Settings settings{};
    YQ_TRY(this->settings(call, &settings));
    Run run{reinterpret_cast<const unsigned char *>(images),
            step,
            n,
            settings,
            Deadline(settings.timeout_ms),
            call,
            results};
    while (next_picture(run) || run.in_flight > 0) {
        uint32_t slot = 0;
        if (run.next < n && run.deadline.passed()) {
            rest_failed(run, fail(YQ_ETIMEOUT, "%u ms passed before the picture's turn", settings.timeout_ms));
        } else if (run.next < n && run.in_flight == 0) {
            const Clock::time_point asked = Clock::now();
            const int32_t status = engine_->acquire(run.deadline, &slot);
            run.queue_ms = ms_between(asked, Clock::now());
            call.queue_ms += run.queue_ms;
            if (status == YQ_OK)
                start(run, slot);
            else
                rest_failed(run, status);
        } else if (run.next < n && run.in_flight < streams_.size() && engine_->try_acquire(&slot)) {
            run.queue_ms = 0;
            start(run, slot);
        } else {
            slot = run.flying[run.oldest];
            run.oldest = (run.oldest + 1) % YQ_MAX_STREAMS;
            --run.in_flight;
            finish(run, slot);
        }
    }
    return run.status == YQ_OK ? YQ_OK : fail(static_cast<yq_status>(run.status), "%s", run.reason);
}

// Moves to the next picture that can be read; false if there is none.
bool Detector::next_picture(Run &run) {
    for (; run.next < run.count; ++run.next) {
        const auto *image = reinterpret_cast<const yq_image *>(run.images + run.next * run.step);
        const int32_t status = check_image(image, &run.view);
        if (status == YQ_OK) return true;
        picture_failed(run, run.next, status);
    }
    return false;
}

// Fills the slot with as many pictures as the compiled model takes, and hands them to the device.
void Detector::start(Run &run, uint32_t slot) {
    Stream &stream = *streams_[slot];
    const Clock::time_point began = Clock::now();
    stream.pictures.clear();
    do {
        stream.pictures.push_back({run.next++, run.view, {}});
        letterbox(slot, stream, static_cast<uint32_t>(stream.pictures.size() - 1));
    } while (stream.pictures.size() < stream.pictures.capacity() && next_picture(run));
    stream.submitted = Clock::now();
    const float preprocess_ms = ms_between(began, stream.submitted);
    run.call.preprocess_ms += preprocess_ms;
    int32_t status = YQ_OK;
    if (run.deadline.passed())
        status = fail(YQ_ETIMEOUT, "the picture was ready only after %u ms", run.settings.timeout_ms);
    else
        status = engine_->submit(slot, static_cast<uint32_t>(stream.pictures.size()));
    if (status != YQ_OK) {
        for (const Picture &picture : stream.pictures) picture_failed(run, picture.index, status);
        engine_->release(slot);
        return;
    }
    stream.queue_ms = run.queue_ms;
    stream.preprocess_ms = preprocess_ms / static_cast<float>(stream.pictures.size());
    run.flying[(run.oldest + run.in_flight++) % YQ_MAX_STREAMS] = slot;
}

void Detector::letterbox(uint32_t slot, Stream &stream, uint32_t index) {
    const LetterboxRule &rule = package_.letterbox;
    Picture &picture = stream.pictures[index];
    picture.box = letterbox_box(picture.view.roi_width, picture.view.roi_height, rule);
    if (engine_->letterbox(slot, index, picture.view, picture.box)) return;
    const size_t bytes = static_cast<size_t>(rule.width) * static_cast<size_t>(rule.height) * 3;
    stream.letterboxer.run(picture.view, engine_->input(slot) + index * bytes);
}

// Waits for the slot's pictures, decodes them and gives the slot back.
void Detector::finish(Run &run, uint32_t slot) {
    Stream &stream = *streams_[slot];
    const int32_t status = engine_->collect(slot, run.deadline, stream.tensors.data());
    const Clock::time_point collected = Clock::now();
    const float engine_ms = ms_between(stream.submitted, collected);
    run.call.engine_ms += engine_ms;
    Clock::time_point began = collected;
    for (uint32_t i = 0; i < stream.pictures.size(); ++i) {
        const Picture &picture = stream.pictures[i];
        if (status != YQ_OK) {
            picture_failed(run, picture.index, status);
            continue;
        }
        CandidateList &candidates = stream.candidates;
        candidates.clear();
        decoder_->run(stream.tensors.data(), i, run.settings.score_threshold, candidates);
        candidates.finish();
        drop_outside(candidates, picture.box);
        BoxVotes *const votes = package_.head.box_voting ? stream.votes.data() : nullptr;
        if (package_.head.nms) nms(candidates, run.settings.iou_threshold, run.settings.max_detections, votes);
        candidates.truncate(run.settings.max_detections);
        write(run, picture, candidates);
        const Clock::time_point ended = Clock::now();
        const float decode_ms = ms_between(began, ended);
        began = ended;
        run.call.decode_ms += decode_ms;
        const float queue_ms = i == 0 ? stream.queue_ms : 0;
        stats_.queue.record(queue_ms);
        stats_.preprocess.record(stream.preprocess_ms);
        stats_.engine.record(engine_ms);
        stats_.decode.record(decode_ms);
        stats_.total.record(queue_ms + stream.preprocess_ms + engine_ms + decode_ms);
        ++stats_.pictures;
    }
    engine_->release(slot);
}

// Candidates in input pixels become the caller's detections in picture pixels.
void Detector::write(Run &run, const Picture &picture, const CandidateList &candidates) {
    const ImageView &view = picture.view;
    const LetterboxBox &box = picture.box;
    const BoxScale &sides = package_.head.box_scale;
    const auto back = [](float low, float high, int32_t offset, float scale, int32_t length, float side) {
        const auto most = static_cast<float>(length);
        const auto inside = [&](float value) {
            return std::clamp((value - static_cast<float>(offset)) * scale, 0.f, most);
        };
        return scaled({inside(low), inside(high)}, side, most);
    };
    const auto written = static_cast<uint32_t>(std::min<size_t>(candidates.size(), run.results.capacity_each));
    yq_detection *out = run.results.detections;
    if (out) out += static_cast<size_t>(picture.index) * run.results.capacity_each;
    for (uint32_t i = 0; i < written; ++i) {
        const Candidate &candidate = candidates.data()[i];
        out[i] = {};
        const Span across = back(candidate.x1, candidate.x2, box.left, box.scale_x, view.roi_width, sides.width);
        const Span down = back(candidate.y1, candidate.y2, box.top, box.scale_y, view.roi_height, sides.height);
        out[i].x1 = across.low + static_cast<float>(view.roi_x);
        out[i].y1 = down.low + static_cast<float>(view.roi_y);
        out[i].x2 = across.high + static_cast<float>(view.roi_x);
        out[i].y2 = down.high + static_cast<float>(view.roi_y);
        out[i].score = candidate.score;
        out[i].class_id = candidate.class_id;
    }
    run.results.counts[picture.index] = written;
    run.call.found += static_cast<uint32_t>(candidates.size());
    stats_.detections += candidates.size();
}

void Detector::picture_failed(Run &run, uint32_t index, int32_t status) {
    ++stats_.errors;
    if (status == YQ_ETIMEOUT) ++stats_.timeouts;
    if (run.results.statuses) run.results.statuses[index] = status;
    if (index >= run.failed) return;
    run.failed = index;
    run.status = status;
    if (run.count == 1)
        copy_text(run.reason, sizeof run.reason, last_error());
    else
        std::snprintf(run.reason, sizeof run.reason, "picture %u: %s", index, last_error());
}

// The deadline and the device are everyone's: the pictures that are left fail alike.
void Detector::rest_failed(Run &run, int32_t status) {
    for (; run.next < run.count; ++run.next) picture_failed(run, run.next, status);
}

// ---------------------------------------------------------------------------------------------------------- inspection

void Detector::info(yq_info *info) const {
    info->format = package_.format;
    copy_text(info->name, sizeof info->name, package_.name.c_str());
    copy_text(info->task, sizeof info->task, package_.task.c_str());
    copy_text(info->precision, sizeof info->precision, package_.precision.c_str());
    copy_text(info->chip, sizeof info->chip, package_.chip.c_str());
    copy_text(info->backend, sizeof info->backend, api_->name);
    copy_text(info->backend_version, sizeof info->backend_version, api_->sdk_version());
    copy_text(info->device, sizeof info->device, device_.c_str());
    info->input_width = package_.letterbox.width;
    info->input_height = package_.letterbox.height;
    info->input_channels = 3;
    info->class_count = static_cast<uint32_t>(package_.classes.size());
    info->streams = options_.streams;
    info->batch = served_artifact(*api_, package_).batch;
    info->needs_nms = package_.head.nms;
    info->score_threshold = options_.score_threshold;
    info->iou_threshold = options_.iou_threshold;
    info->max_detections = options_.max_detections;
    info->timeout_ms = options_.timeout_ms;
}

void Detector::stats(yq_stats *stats) {
    yqb_health health = unknown_health();
    stats->streams = options_.streams;
    engine_->read(&stats->streams_busy, &stats->streams_quarantined, &health);
    stats->pictures = stats_.pictures;
    stats->errors = stats_.errors;
    stats->timeouts = stats_.timeouts;
    stats->device_lost = stats_.device_lost;
    stats->device_recovered = stats_.device_recovered;
    stats->detections = stats_.detections;
    stats->total = stats_.total.read();
    stats->queue = stats_.queue.read();
    stats->preprocess = stats_.preprocess.read();
    stats->engine = stats_.engine.read();
    stats->decode = stats_.decode.read();
    stats->device_temperature_c = health.temperature_c;
    stats->device_power_w = health.power_w;
    stats->device_utilization_percent = health.utilization_percent;
    stats->device_memory_used = health.memory_used;
    stats->device_memory_total = health.memory_total;
}

const char *Detector::class_name(int32_t id) const {
    if (id >= 0 && static_cast<size_t>(id) < package_.classes.size())
        return package_.classes[static_cast<size_t>(id)].c_str();
    fail(YQ_EINVAL, "class %d does not exist: the model has 0 to %zu", id, package_.classes.size() - 1);
    return nullptr;
}

} // namespace yq
