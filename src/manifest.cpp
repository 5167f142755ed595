// SPDX-License-Identifier: Apache-2.0
#include "manifest.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace yq {
namespace {

using Json = nlohmann::json;

constexpr uint32_t newest_format = 1;
constexpr int64_t max_input_side = 16384;

// A JSON value and where it stands, so that every complaint names its field.
class Field {
public:
    Field(const Json &value, std::string path) : value_(value), path_(std::move(path)) {}

    [[noreturn]] void refuse(const std::string &wanted) const {
        throw PackageFault("manifest.json: " + path_ + " must be " + wanted);
    }

    bool has(const char *key) const { return value_.is_object() && value_.contains(key) && !value_[key].is_null(); }

    Field operator[](const char *key) const {
        if (!value_.is_object()) refuse("an object");
        const std::string path = path_.empty() ? key : path_ + "." + key;
        const auto found = value_.find(key);
        if (found == value_.end()) throw PackageFault("manifest.json: " + path + " is missing");
        return {*found, path};
    }

    std::vector<Field> items(size_t least, size_t most) const {
        if (!value_.is_array() || value_.size() < least || value_.size() > most)
            refuse("a list of " + std::to_string(least) + " to " + std::to_string(most));
        std::vector<Field> list;
        for (size_t i = 0; i < value_.size(); ++i) list.emplace_back(value_[i], path_ + "[" + std::to_string(i) + "]");
        return list;
    }

    std::vector<std::pair<std::string, Field>> members() const {
        if (!value_.is_object()) refuse("an object");
        std::vector<std::pair<std::string, Field>> list;
        for (const auto &[key, value] : value_.items()) list.emplace_back(key, Field(value, path_ + "." + key));
        return list;
    }

    std::string text() const {
        if (!value_.is_string() || value_.get_ref<const std::string &>().find('\0') != std::string::npos)
            refuse("a text");
        return value_.get<std::string>();
    }

    int64_t integer(int64_t least, int64_t most) const {
        if (value_.is_number_integer()) {
            const bool huge = value_.is_number_unsigned() && value_.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
            if (!huge && value_.get<int64_t>() >= least && value_.get<int64_t>() <= most) return value_.get<int64_t>();
        }
        refuse("a whole number from " + std::to_string(least) + " to " + std::to_string(most));
    }

    float number(float above, float most) const {
        const double value = value_.is_number() ? value_.get<double>() : NAN;
        if (!(value > above && value <= most))
            refuse("a number above " + std::to_string(above) + " and at most " + std::to_string(most));
        return static_cast<float>(value);
    }

    bool boolean() const {
        if (!value_.is_boolean()) refuse("true or false");
        return value_.get<bool>();
    }

    // One of the named values.
    template <typename T> T choice(const std::vector<std::pair<const char *, T>> &choices) const {
        std::string names;
        for (const auto &[name, value] : choices) {
            if (value_.is_string() && value_.get_ref<const std::string &>() == name) return value;
            names += (names.empty() ? "" : ", ") + std::string(name);
        }
        refuse("one of: " + names);
    }

private:
    const Json &value_;
    std::string path_;
};

void read_input(const Field &input, Package *out) {
    out->input_name = input["name"].text();
    out->letterbox.width = static_cast<int32_t>(input["width"].integer(1, max_input_side));
    out->letterbox.height = static_cast<int32_t>(input["height"].integer(1, max_input_side));
    out->letterbox.bgr = input["color"].choice<bool>({{"RGB", false}, {"BGR", true}});
    input["layout"].choice<int>({{"NHWC", 0}});
    input["dtype"].choice<int>({{"uint8", 0}});
    const Field letterbox = input["letterbox"];
    out->letterbox.pad = static_cast<uint8_t>(letterbox["pad"].integer(0, 255));
    out->letterbox.center = letterbox["align"].choice<bool>({{"center", true}, {"topleft", false}});
    out->letterbox.upscale = letterbox["upscale"].boolean();
}

std::vector<std::vector<Anchor>> read_anchors(const Field &anchors, size_t levels) {
    std::vector<std::vector<Anchor>> list;
    for (const Field &level : anchors.items(levels, levels)) {
        list.emplace_back();
        for (const Field &anchor : level.items(1, 16)) {
            const std::vector<Field> sides = anchor.items(2, 2);
            list.back().push_back({sides[0].number(0, 1e5f), sides[1].number(0, 1e5f)});
        }
    }
    return list;
}

TensorSpec read_output(const Field &output) {
    TensorSpec tensor;
    tensor.name = output["name"].text();
    tensor.dtype = output["dtype"].choice<DType>(
        {{"float32", DType::float32}, {"float16", DType::float16}, {"int8", DType::int8}, {"uint8", DType::uint8}});
    for (const Field &side : output["shape"].items(2, 6)) tensor.shape.push_back(side.integer(1, 1 << 24));
    tensor.channel_axis = static_cast<int32_t>(output["channel_axis"].integer(-1, 5));
    if (output.has("scale")) tensor.scale = output["scale"].number(0, 1e30f);
    if (output.has("zero_point")) tensor.zero_point = static_cast<int32_t>(output["zero_point"].integer(-128, 255));
    uint64_t elements = 1;
    for (const int64_t side : tensor.shape) {
        elements *= static_cast<uint64_t>(side);
        if (elements > (1ull << 31)) output["shape"].refuse("a shape of at most 2^31 elements");
    }
    return tensor;
}

void read_head(const Field &head, Package *out) {
    HeadSpec &spec = out->head;
    spec.box = head["box"].choice<BoxForm>({{"ltrb", BoxForm::ltrb},
                                            {"anchor", BoxForm::anchor},
                                            {"exp", BoxForm::exp},
                                            {"cxcywh", BoxForm::cxcywh},
                                            {"xyxy", BoxForm::xyxy}});
    spec.score =
        head["score"].choice<ScoreForm>({{"logit", ScoreForm::logit}, {"probability", ScoreForm::probability}});
    spec.reg_max = static_cast<int32_t>(head["reg_max"].integer(1, 64));
    spec.objectness = head["objectness"].boolean();
    spec.nms = head["nms"].boolean();
    if (head.has("box_voting")) spec.box_voting = head["box_voting"].boolean();
    if (spec.box_voting && !spec.nms) head["box_voting"].refuse("false where nms is false");
    if (head.has("box_scale")) {
        const std::vector<Field> sides = head["box_scale"].items(2, 2);
        spec.box_scale = {sides[0].number(0.5f, 2), sides[1].number(0.5f, 2)};
    }
    for (const Field &stride : head["strides"].items(0, 8))
        spec.strides.push_back(static_cast<int32_t>(stride.integer(1, 1024)));
    if (head.has("anchors")) spec.anchors = read_anchors(head["anchors"], spec.strides.size());
    for (const Field &item : head["outputs"].items(1, 64)) {
        HeadOutput output{};
        const std::string tensor = item["tensor"].text();
        const auto found = std::find_if(out->outputs.begin(), out->outputs.end(),
                                        [&](const TensorSpec &each) { return each.name == tensor; });
        if (found == out->outputs.end()) item["tensor"].refuse("the name of one of `outputs`");
        output.tensor = static_cast<size_t>(found - out->outputs.begin());
        output.role = item["role"].choice<Role>({{"box", Role::box},
                                                 {"score", Role::score},
                                                 {"objectness", Role::objectness},
                                                 {"combined", Role::combined},
                                                 {"end2end", Role::end2end}});
        const int64_t levels = std::max<int64_t>(1, static_cast<int64_t>(spec.strides.size()));
        output.level = static_cast<size_t>(item["level"].integer(0, levels - 1));
        spec.outputs.push_back(output);
    }
}

void read_defaults(const Field &manifest, Defaults *out) {
    if (!manifest.has("defaults")) return;
    const Field fields = manifest["defaults"];
    const auto whole = [&](const char *key, int64_t most, uint32_t *value) {
        if (fields.has(key)) *value = static_cast<uint32_t>(fields[key].integer(1, most));
    };
    if (fields.has("score_threshold")) out->score_threshold = fields["score_threshold"].number(0, 1);
    if (fields.has("iou_threshold")) out->iou_threshold = fields["iou_threshold"].number(0, 1);
    whole("max_detections", YQ_MAX_DETECTIONS, &out->max_detections);
    whole("streams", YQ_MAX_STREAMS, &out->streams);
    whole("timeout_ms", UINT32_MAX, &out->timeout_ms);
}

// A file's name: inside the folder, no path.
std::string file_name(const Field &field, const std::string &name) {
    if (name.empty() || name[0] == '.' || name.find_first_of("/\\:") != std::string::npos)
        field.refuse("about plain file names (found \"" + name + "\")");
    return name;
}

std::map<std::string, FileDigest> read_files(const Field &files) {
    std::map<std::string, FileDigest> list;
    for (const auto &[name, file] : files.members()) {
        const FileDigest digest{static_cast<uint64_t>(file["size"].integer(0, INT64_MAX)), file["sha256"].text()};
        list.emplace(file_name(files, name), digest);
    }
    return list;
}

void read_artifacts(const Field &artifacts, const std::map<std::string, FileDigest> &files, Package *out) {
    for (const Field &item : artifacts.items(1, 64)) {
        Artifact artifact{item["file"].text(), static_cast<uint32_t>(item["batch"].integer(1, 1024))};
        if (!files.count(artifact.file)) item["file"].refuse("one of `files`");
        out->artifacts.push_back(std::move(artifact));
    }
    std::stable_sort(out->artifacts.begin(), out->artifacts.end(),
                     [](const Artifact &a, const Artifact &b) { return a.batch < b.batch; });
}

void read_format(const Field &manifest, Package *out) {
    out->format = static_cast<uint32_t>(manifest["format"].integer(1, UINT32_MAX));
    if (out->format > newest_format)
        throw PackageFault("the package has format " + std::to_string(out->format) + ", this library reads up to " +
                           std::to_string(newest_format) + ": use a newer yoloq");
}

} // namespace

std::map<std::string, FileDigest> parse_manifest(const std::string &text, Package *out) {
    Json json;
    try {
        json = Json::parse(text);
    } catch (const Json::exception &error) {
        throw PackageFault(std::string("manifest.json is no JSON: ") + error.what());
    }
    const Field manifest(json, "");
    read_format(manifest, out);
    out->name = manifest["name"].text();
    out->task = manifest["task"].text();
    manifest["task"].choice<int>({{"detect", 0}});
    out->precision = manifest["precision"].text();
    out->chip = manifest["target"]["chip"].text();
    out->backend = manifest["target"]["backend"].text();
    for (const Field &name : manifest["classes"].items(1, 100000)) out->classes.push_back(name.text());
    read_input(manifest["input"], out);
    for (const Field &output : manifest["outputs"].items(1, 64)) out->outputs.push_back(read_output(output));
    read_head(manifest["head"], out);
    if (manifest.has("backend_options"))
        for (const auto &[key, value] : manifest["backend_options"].members())
            out->backend_options.emplace_back(key, value.text());
    read_defaults(manifest, &out->defaults);
    const std::map<std::string, FileDigest> files = read_files(manifest["files"]);
    read_artifacts(manifest["artifacts"], files, out);
    return files;
}

} // namespace yq
