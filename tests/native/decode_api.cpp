// SPDX-License-Identifier: Apache-2.0
// Decoder, candidate list and NMS for tests: flat C functions; heads come as JSON. Failures return -1 and a text.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "decode.h"
#include "nms.h"

#if defined(_WIN32)
#define YQT_API extern "C" __declspec(dllexport)
#else
#define YQT_API extern "C" __attribute__((visibility("default")))
#endif

namespace {

using nlohmann::json;
using yq::Candidate;
using yq::CandidateList;

template <class Enum> Enum pick(const json &value, std::initializer_list<std::pair<const char *, Enum>> names) {
    for (const auto &[name, number] : names) {
        if (value == name) return number;
    }
    throw std::invalid_argument("test API: unknown name " + value.dump());
}

yq::HeadSpec head_of(const json &j) {
    using yq::BoxForm;
    using yq::Role;
    using yq::ScoreForm;
    yq::HeadSpec head;
    head.box = pick<BoxForm>(j.at("box"), {{"ltrb", BoxForm::ltrb},
                                           {"anchor", BoxForm::anchor},
                                           {"exp", BoxForm::exp},
                                           {"cxcywh", BoxForm::cxcywh},
                                           {"xyxy", BoxForm::xyxy}});
    head.score = pick<ScoreForm>(j.at("score"), {{"logit", ScoreForm::logit}, {"probability", ScoreForm::probability}});
    head.reg_max = j.at("reg_max");
    head.objectness = j.at("objectness");
    head.nms = j.at("nms");
    head.strides = j.at("strides").get<std::vector<int32_t>>();
    for (const json &level : j.at("anchors")) {
        head.anchors.emplace_back();
        for (const json &anchor : level) head.anchors.back().push_back({anchor.at(0), anchor.at(1)});
    }
    for (const json &output : j.at("outputs")) {
        const Role role = pick<Role>(output.at("role"), {{"box", Role::box},
                                                         {"score", Role::score},
                                                         {"objectness", Role::objectness},
                                                         {"combined", Role::combined},
                                                         {"end2end", Role::end2end}});
        head.outputs.push_back({output.at("tensor").get<size_t>(), role, output.at("level").get<size_t>()});
    }
    return head;
}

std::vector<yq::TensorSpec> tensors_of(const json &j) {
    using yq::DType;
    std::vector<yq::TensorSpec> tensors;
    for (const json &item : j) {
        yq::TensorSpec tensor;
        tensor.name = item.at("name");
        tensor.dtype = pick<DType>(
            item.at("dtype"),
            {{"uint8", DType::uint8}, {"int8", DType::int8}, {"float16", DType::float16}, {"float32", DType::float32}});
        tensor.shape = item.at("shape").get<std::vector<int64_t>>();
        tensor.channel_axis = item.at("channel_axis");
        tensor.scale = item.at("scale");
        tensor.zero_point = item.at("zero_point");
        tensors.push_back(std::move(tensor));
    }
    return tensors;
}

struct TestDecoder {
    TestDecoder(const json &j, size_t limit)
        : tensors(tensors_of(j.at("tensors"))),
          decoder(head_of(j.at("head")), tensors, j.at("classes"), j.at("width"), j.at("height")), list(limit) {}

    std::vector<yq::TensorSpec> tensors;
    yq::Decoder decoder;
    CandidateList list;
};

int64_t copy_out(const CandidateList &list, Candidate *out, uint64_t capacity) {
    std::copy_n(list.data(), std::min<size_t>(list.size(), capacity), out);
    return static_cast<int64_t>(list.size());
}

} // namespace

// text: JSON {head, tensors, classes, width, height}; tensor references in the head are indices. limit: of the
// candidate list. NULL on failure, with the reason in `error` (NUL-terminated).
YQT_API void *yqt_decoder_create(const char *text, uint64_t limit, char *error, uint64_t error_capacity) {
    try {
        return new TestDecoder(json::parse(text), limit);
    } catch (const std::exception &e) {
        std::snprintf(error, error_capacity, "%s", e.what());
        return nullptr;
    }
}

YQT_API void yqt_decoder_destroy(void *decoder) {
    delete static_cast<TestDecoder *>(decoder);
}

YQT_API uint64_t yqt_decoder_tensor_bytes(const void *decoder, uint64_t tensor) {
    return static_cast<const TestDecoder *>(decoder)->tensors[tensor].bytes();
}

// Decodes one picture and sorts. tensors: the output buffers. out: room for `capacity` of the `limit` candidates.
// Returns how many there are.
YQT_API int64_t yqt_decode(void *decoder, const void *const *tensors, uint32_t picture, float threshold, Candidate *out,
                           uint64_t capacity) {
    auto &test = *static_cast<TestDecoder *>(decoder);
    test.list.clear();
    test.decoder.run(tensors, picture, threshold, test.list);
    test.list.finish();
    return copy_out(test.list, out, capacity);
}

// Puts `count` candidates into a list of `limit` and finishes it. floor: of the list, after the last add.
YQT_API int64_t yqt_collect(const Candidate *in, uint64_t count, uint64_t limit, Candidate *out, float *floor) {
    try {
        CandidateList list(limit);
        for (uint64_t i = 0; i < count; ++i) list.add(in[i]);
        *floor = list.floor();
        list.finish();
        return copy_out(list, out, limit);
    } catch (const std::exception &) { return -1; }
}

// Sorts `count` candidates, suppresses, and writes those kept to `out` (room for `count`). Returns how many.
YQT_API int64_t yqt_nms(const Candidate *in, uint64_t count, float iou_threshold, uint64_t max_detections,
                        int32_t box_voting, Candidate *out) {
    CandidateList list(std::max<uint64_t>(count, 1));
    for (uint64_t i = 0; i < count; ++i) list.add(in[i]);
    list.finish();
    std::vector<yq::BoxVotes> votes(box_voting ? max_detections : 0);
    yq::nms(list, iou_threshold, max_detections, box_voting ? votes.data() : nullptr);
    return copy_out(list, out, count);
}
