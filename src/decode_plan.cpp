// SPDX-License-Identifier: Apache-2.0
#include "decode_plan.h"

#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace yq {

namespace {

constexpr size_t kRoles = 5;

[[noreturn]] void refuse(const std::string &reason) {
    throw std::invalid_argument(reason);
}

std::string text(int64_t number) {
    return std::to_string(number);
}

const char *name_of(Role role) {
    switch (role) {
    case Role::box: return "box";
    case Role::score: return "score";
    case Role::objectness: return "objectness";
    case Role::combined: return "combined";
    default: return "end2end";
    }
}

// "tensor 'box_0' [1, 4, 80, 80] with channel_axis 1"
std::string describe(const TensorSpec &tensor) {
    std::string shape;
    for (const int64_t dim : tensor.shape) shape += (shape.empty() ? "" : ", ") + text(dim);
    return "tensor '" + tensor.name + "' [" + shape + "] with channel_axis " + text(tensor.channel_axis);
}

// A tensor's shape, taken apart. Steps count elements.
struct Layout {
    int64_t anchors = 1; // rank 5: an axis of their own
    int64_t channels = 0, cells = 0;
    int64_t height = 0, width = 0; // 0: cells have one axis
    int64_t channel_step = 0, cell_step = 0, anchor_step = 0, picture_step = 0;
};

class PlanBuilder {
public:
    PlanBuilder(const HeadSpec &head, const std::vector<TensorSpec> &tensors, int32_t class_count, int32_t input_width,
                int32_t input_height)
        : head_(head), tensors_(tensors), classes_(class_count), width_(input_width), height_(input_height),
          used_(tensors.size(), false) {}

    HeadPlan build() {
        check_head();
        assign_outputs();
        plan_.box = head_.box;
        plan_.score = head_.score;
        plan_.reg_max = static_cast<size_t>(head_.reg_max);
        plan_.classes = static_cast<size_t>(classes_);
        plan_.objectness = head_.objectness;
        plan_.end2end = outputs_[0][index(Role::end2end)] != nullptr;
        if (plan_.end2end) {
            build_rows();
        } else {
            for (size_t level = 0; level < outputs_.size(); ++level) build_level(level);
        }
        return std::move(plan_);
    }

private:
    using LevelOutputs = std::array<const HeadOutput *, kRoles>; // by role

    static size_t index(Role role) { return static_cast<size_t>(role); }

    bool dense() const { return head_.box == BoxForm::cxcywh || head_.box == BoxForm::xyxy; }
    int64_t box_channels() const { return head_.box == BoxForm::ltrb ? 4 * int64_t{head_.reg_max} : 4; }

    void check_head() const {
        if (classes_ < 1) refuse("a head needs 1 or more classes, found " + text(classes_));
        if (width_ < 1 || height_ < 1) refuse("the input size " + text(width_) + " x " + text(height_) + " is no size");
        if (head_.reg_max < 1) refuse("reg_max must be 1 or more, found " + text(head_.reg_max));
        if (head_.reg_max > 1 && head_.box != BoxForm::ltrb) refuse("reg_max above 1 goes with box ltrb only");
        if (dense() && !head_.strides.empty()) refuse("box cxcywh and xyxy have no strides, leave them empty");
        if (!dense() && head_.strides.empty()) refuse("box ltrb, anchor and exp need strides, found none");
        for (const int32_t stride : head_.strides) {
            if (stride < 1 || width_ % stride != 0 || height_ % stride != 0) {
                refuse("stride " + text(stride) + " does not divide the input size " + text(width_) + " x " +
                       text(height_));
            }
        }
        check_anchors();
    }

    void check_anchors() const {
        if (head_.box != BoxForm::anchor) {
            if (!head_.anchors.empty()) refuse("anchors go with box anchor only");
            return;
        }
        if (head_.anchors.size() != head_.strides.size()) {
            refuse("anchors are needed for each of the " + text(static_cast<int64_t>(head_.strides.size())) +
                   " strides, found " + text(static_cast<int64_t>(head_.anchors.size())) + " lists");
        }
        for (size_t level = 0; level < head_.anchors.size(); ++level) {
            const std::string where = "level " + text(static_cast<int64_t>(level));
            if (head_.anchors[level].empty()) refuse(where + " has no anchors");
            for (const Anchor &anchor : head_.anchors[level]) {
                const bool good = anchor.width > 0 && anchor.height > 0 && std::isfinite(anchor.width) &&
                                  std::isfinite(anchor.height);
                if (!good) refuse("an anchor of " + where + " has no positive, finite size");
            }
        }
    }

    // Sorts the head's outputs into levels and roles; every tensor and every place is taken once, none is missing.
    void assign_outputs() {
        outputs_.assign(dense() ? 1 : head_.strides.size(), LevelOutputs{});
        for (const HeadOutput &output : head_.outputs) {
            if (output.tensor >= tensors_.size()) {
                refuse("the head uses output " + text(static_cast<int64_t>(output.tensor)) + ", but there are only " +
                       text(static_cast<int64_t>(tensors_.size())));
            }
            const std::string name = "tensor '" + tensors_[output.tensor].name + "'";
            if (used_[output.tensor]) refuse(name + " is used twice by the head");
            used_[output.tensor] = true;
            if (output.level >= outputs_.size()) {
                refuse(name + " is for level " + text(static_cast<int64_t>(output.level)) + ", but the head has only " +
                       text(static_cast<int64_t>(outputs_.size())));
            }
            const HeadOutput *&place = outputs_[output.level][index(output.role)];
            if (place) {
                refuse(name + " is a second " + name_of(output.role) + " output at level " +
                       text(static_cast<int64_t>(output.level)));
            }
            place = &output;
            check_tensor(tensors_[output.tensor]);
        }
        for (size_t level = 0; level < outputs_.size(); ++level) check_roles(level);
    }

    void check_roles(size_t level) const {
        const std::string where = "level " + text(static_cast<int64_t>(level));
        const auto has = [&](Role role) { return outputs_[level][index(role)] != nullptr; };
        const auto need = [&](Role role, bool wanted) {
            if (has(role) == wanted) return;
            refuse(where + (wanted ? " lacks its " : " has no place for the ") + name_of(role) + " output");
        };
        if (has(Role::end2end)) {
            if (head_.box != BoxForm::xyxy) refuse("an end2end output needs box xyxy");
            if (head_.nms || head_.objectness) refuse("an end2end output takes neither nms nor objectness");
        }
        const bool whole = has(Role::combined) || has(Role::end2end) || head_.box == BoxForm::anchor;
        need(Role::combined, whole && !has(Role::end2end));
        need(Role::box, !whole);
        need(Role::score, !whole);
        need(Role::objectness, !whole && head_.objectness);
    }

    void check_tensor(const TensorSpec &tensor) {
        const std::string name = "tensor '" + tensor.name + "'";
        if (tensor.shape.empty()) refuse(name + " has no shape");
        int64_t elements = 1;
        for (const int64_t dim : tensor.shape) {
            if (dim < 1 || dim > std::numeric_limits<int32_t>::max() / elements) {
                refuse(describe(tensor) + " has an impossible size");
            }
            elements *= dim;
        }
        if (batch_ == 0) batch_ = tensor.shape[0];
        if (tensor.shape[0] != batch_) {
            refuse(describe(tensor) + " has another batch than the head's first tensor, which has " + text(batch_));
        }
        const bool integer = tensor.dtype == DType::uint8 || tensor.dtype == DType::int8;
        if (!integer && !(tensor.scale == 0 || tensor.scale == 1)) refuse(name + " is float and takes no scale");
        if (!std::isfinite(tensor.scale) || tensor.scale < 0) refuse(name + " needs a positive, finite scale");
        const int32_t low = tensor.dtype == DType::int8 ? -128 : 0;
        const int32_t high = !integer ? 0 : tensor.dtype == DType::int8 ? 127 : 255;
        if (tensor.zero_point < low || tensor.zero_point > high) {
            refuse(name + " has zero point " + text(tensor.zero_point) + ", outside its type");
        }
    }

    static Layout layout_of(const TensorSpec &tensor) {
        const std::vector<int64_t> &shape = tensor.shape;
        const auto rank = static_cast<int32_t>(shape.size());
        const int32_t axis = tensor.channel_axis < 0 ? tensor.channel_axis + rank : tensor.channel_axis;
        const int32_t before_channels = rank == 5 ? 2 : 1; // batch, and the anchors of rank 5
        if (rank < 3 || rank > 5 || (axis != before_channels && axis != rank - 1)) {
            refuse(describe(tensor) + " is no layout of a head: use [n, ch, h, w], [n, ch, cells], [n, h, w, ch], "
                                      "[n, cells, ch], [n, anchors, ch, h, w] or [n, anchors, h, w, ch]");
        }
        Layout layout;
        const bool last = axis == rank - 1;
        const int32_t first_cell_axis = last ? before_channels : before_channels + 1;
        layout.channels = shape[static_cast<size_t>(axis)];
        layout.cells = shape[static_cast<size_t>(first_cell_axis)];
        if (rank > 3) {
            layout.height = layout.cells;
            layout.width = shape[static_cast<size_t>(first_cell_axis) + 1];
            layout.cells *= layout.width;
        }
        layout.channel_step = last ? 1 : layout.cells;
        layout.cell_step = last ? layout.channels : 1;
        layout.anchors = rank == 5 ? shape[1] : 1;
        layout.anchor_step = layout.channels * layout.cells;
        layout.picture_step = layout.anchor_step * layout.anchors;
        return layout;
    }

    // Checks a tensor that holds `channels` per anchor of a level, or of a dense head.
    Layout level_layout(const HeadOutput &output, int64_t channels) const {
        const TensorSpec &tensor = tensors_[output.tensor];
        Layout layout = layout_of(tensor);
        if (!dense()) check_cells(tensor, layout, head_.strides[output.level]);
        const bool by_anchor = head_.box == BoxForm::anchor;
        const int64_t anchors = by_anchor ? static_cast<int64_t>(head_.anchors[output.level].size()) : 1;
        if (tensor.shape.size() == 5) {
            if (!by_anchor) refuse(describe(tensor) + " has rank 5, which goes with box anchor only");
            if (layout.anchors != anchors) {
                refuse(describe(tensor) + " has " + text(layout.anchors) + " anchors, expected " + text(anchors));
            }
        } else {
            channels *= anchors;
        }
        if (layout.channels != channels) {
            refuse(describe(tensor) + " has " + text(layout.channels) + " channels, expected " + text(channels) +
                   " for " + name_of(output.role) + " with " + text(classes_) + " classes");
        }
        if (tensor.shape.size() != 5) layout.anchor_step = channels / anchors * layout.channel_step;
        return layout;
    }

    void check_cells(const TensorSpec &tensor, const Layout &layout, int32_t stride) const {
        const int64_t height = height_ / stride, width = width_ / stride;
        const bool good =
            layout.height > 0 ? layout.height == height && layout.width == width : layout.cells == height * width;
        if (!good) {
            refuse(describe(tensor) + " does not have the " + text(height) + " x " + text(width) + " cells of stride " +
                   text(stride));
        }
    }

    ChannelView view(const HeadOutput &output, const Layout &layout, int64_t first_channel, int64_t anchor) const {
        const TensorSpec &tensor = tensors_[output.tensor];
        ChannelView view;
        view.tensor = output.tensor;
        view.dtype = tensor.dtype;
        view.scale = tensor.scale == 0 ? 1 : tensor.scale;
        view.zero_point = tensor.scale == 0 ? 0 : tensor.zero_point;
        view.picture_step = static_cast<size_t>(layout.picture_step);
        view.first = static_cast<size_t>(anchor * layout.anchor_step + first_channel * layout.channel_step);
        view.channel_step = static_cast<size_t>(layout.channel_step);
        view.cell_step = static_cast<size_t>(layout.cell_step);
        return view;
    }

    void build_level(size_t level) {
        const LevelOutputs &outputs = outputs_[level];
        const int64_t box = box_channels(), objectness = head_.objectness ? 1 : 0;
        HeadGroup group;
        std::vector<Anchor> anchors(1, group.anchor);
        if (head_.box == BoxForm::anchor) anchors = head_.anchors[level];
        for (size_t i = 0; i < anchors.size(); ++i) {
            const auto anchor = static_cast<int64_t>(i);
            if (const HeadOutput *all = outputs[index(Role::combined)]) {
                const Layout layout = level_layout(*all, box + objectness + classes_);
                group.box = view(*all, layout, 0, anchor);
                group.objectness = view(*all, layout, box, anchor);
                group.score = view(*all, layout, box + objectness, anchor);
                group.cells = static_cast<size_t>(layout.cells);
            } else {
                build_separate(outputs, group);
            }
            group.anchor = anchors[i];
            group.position = static_cast<uint32_t>(positions_ + i);
            group.position_step = static_cast<uint32_t>(anchors.size());
            group.stride = dense() ? 1.0f : static_cast<float>(head_.strides[level]);
            group.columns = dense() ? group.cells : static_cast<size_t>(width_ / head_.strides[level]);
            plan_.groups.push_back(group);
        }
        positions_ += group.cells * anchors.size();
        if (positions_ > std::numeric_limits<uint32_t>::max()) refuse("the head has too many cells");
    }

    void build_separate(const LevelOutputs &outputs, HeadGroup &group) const {
        const HeadOutput &box = *outputs[index(Role::box)], &score = *outputs[index(Role::score)];
        const Layout box_layout = level_layout(box, box_channels()), score_layout = level_layout(score, classes_);
        group.cells = static_cast<size_t>(box_layout.cells);
        group.box = view(box, box_layout, 0, 0);
        group.score = view(score, score_layout, 0, 0);
        check_same_cells(score, score_layout, box_layout);
        if (const HeadOutput *objectness = outputs[index(Role::objectness)]) {
            const Layout layout = level_layout(*objectness, 1);
            group.objectness = view(*objectness, layout, 0, 0);
            check_same_cells(*objectness, layout, box_layout);
        }
    }

    void check_same_cells(const HeadOutput &output, const Layout &layout, const Layout &box) const {
        if (layout.cells == box.cells) return;
        refuse(describe(tensors_[output.tensor]) + " has " + text(layout.cells) + " cells, but the boxes have " +
               text(box.cells));
    }

    void build_rows() {
        const HeadOutput &output = *outputs_[0][index(Role::end2end)];
        const TensorSpec &tensor = tensors_[output.tensor];
        const bool last = tensor.channel_axis == -1 || tensor.channel_axis == 2;
        if (tensor.shape.size() != 3 || tensor.shape[2] != 6 || !last) {
            refuse(describe(tensor) + " is no end2end output: expected [n, rows, 6] with channel_axis -1");
        }
        const Layout layout = layout_of(tensor);
        HeadGroup group;
        group.box = view(output, layout, 0, 0);
        group.score = view(output, layout, 4, 0);
        group.label = view(output, layout, 5, 0);
        group.cells = group.columns = static_cast<size_t>(layout.cells);
        plan_.groups.push_back(group);
    }

    const HeadSpec &head_;
    const std::vector<TensorSpec> &tensors_;
    const int64_t classes_;
    const int32_t width_, height_;
    std::vector<bool> used_;
    std::vector<LevelOutputs> outputs_; // by level
    int64_t batch_ = 0;                 // 0: not known yet
    uint64_t positions_ = 0;
    HeadPlan plan_;
};

} // namespace

HeadPlan make_head_plan(const HeadSpec &head, const std::vector<TensorSpec> &tensors, int32_t class_count,
                        int32_t input_width, int32_t input_height) {
    return PlanBuilder(head, tensors, class_count, input_width, input_height).build();
}

} // namespace yq
