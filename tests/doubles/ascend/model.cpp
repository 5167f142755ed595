// SPDX-License-Identifier: Apache-2.0
// The double's models: loading, descriptions, datasets, execution.
#include "internal.h"

struct aclDataBuffer {
    void *memory;
    size_t bytes;
};

struct aclmdlDataset {
    std::vector<const aclDataBuffer *> buffers;
};

namespace {

using lock_type = std::lock_guard<std::recursive_mutex>;

struct model {
    context *owner;
    std::shared_ptr<const model_content> content;
};

std::map<uint32_t, model> models;
std::set<const aclDataBuffer *> data_buffers;
std::set<const aclmdlDataset *> datasets;
uint32_t last_id = 0;

} // namespace

struct aclmdlDesc {
    std::shared_ptr<const model_content> content;
};

namespace {

std::set<const aclmdlDesc *> descs;

const model_content &content_of(const aclmdlDesc *desc) {
    const lock_type lock(mutex);
    if (!descs.count(desc) || !desc->content) breach("a description that is not there");
    return *desc->content;
}

const tensor_info &tensor_of(const std::vector<tensor_info> &tensors, size_t index) {
    if (index >= tensors.size()) breach("a tensor that the model does not have");
    return tensors[index];
}

// aclmdlIODims, by its bytes: name[128], size_t, int64_t[128].
int fill_dims(const tensor_info &tensor, void *dims) {
    auto *bytes = static_cast<uint8_t *>(dims);
    const size_t rank = tensor.dims.size();
    std::memset(bytes, 0, 128);
    std::memcpy(bytes, tensor.name.data(), std::min<size_t>(tensor.name.size(), 127));
    std::memcpy(bytes + 128, &rank, sizeof rank);
    std::memcpy(bytes + 136, tensor.dims.data(), rank * sizeof(int64_t));
    return ok;
}

// The addresses in a dataset, each fit for its tensor.
std::vector<uint8_t *> addresses(const aclmdlDataset *set, const std::vector<tensor_info> &tensors) {
    const lock_type lock(mutex);
    if (!datasets.count(set)) breach("a dataset that is not there");
    if (set->buffers.size() != tensors.size()) breach("a run with other tensors than the model's");
    std::vector<uint8_t *> found;
    for (size_t i = 0; i < tensors.size(); ++i) {
        const aclDataBuffer *buffer = set->buffers[i];
        if (!data_buffers.count(buffer)) breach("a data buffer that is not there");
        if (buffer->bytes != tensors[i].bytes) breach("a data buffer of another size than its tensor");
        found.push_back(device_memory(buffer->memory, buffer->bytes));
        if (reinterpret_cast<uintptr_t>(found.back()) % 64 != 0) breach("a tensor that is not aligned to 64 bytes");
    }
    return found;
}

} // namespace

extern "C" {

int aclmdlLoadFromFile(const char *path, uint32_t *id) {
    if (const int code = device_step("aclmdlLoadFromFile")) return code;
    if (!current) return no_context;
    int code = bad_read;
    std::shared_ptr<const model_content> content = read_model(path, &code);
    if (!content) return code;
    if (content->soc != device_soc()) return wrong_soc;
    const lock_type lock(mutex);
    *id = ++last_id;
    models[*id] = {current, content};
    ++current->models;
    count(1);
    return ok;
}

int aclmdlUnload(uint32_t id) {
    const int code = device_step("aclmdlUnload");
    const lock_type lock(mutex);
    const auto found = models.find(id);
    if (found == models.end()) breach("a model unloaded that is not loaded");
    if (found->second.owner != current) breach("a model unloaded in another context than it was loaded in");
    if (is_pending([=](const task &each) { return each.model == id; })) breach("a model unloaded while it runs");
    --found->second.owner->models;
    models.erase(found);
    count(-1);
    return code;
}

aclmdlDesc *aclmdlCreateDesc(void) {
    if (step("aclmdlCreateDesc")) return nullptr;
    const lock_type lock(mutex);
    auto *made = new aclmdlDesc;
    descs.insert(made);
    count(1);
    return made;
}

int aclmdlGetDesc(aclmdlDesc *desc, uint32_t id) {
    if (const int code = device_step("aclmdlGetDesc")) return code;
    const lock_type lock(mutex);
    if (!descs.count(desc) || !models.count(id)) breach("a description of a model that is not loaded");
    desc->content = models[id].content;
    return ok;
}

int aclmdlDestroyDesc(aclmdlDesc *desc) {
    const int code = step("aclmdlDestroyDesc");
    const lock_type lock(mutex);
    if (!descs.erase(desc)) breach("a description ended twice");
    delete desc;
    count(-1);
    return code;
}

size_t aclmdlGetNumInputs(aclmdlDesc *desc) {
    return step("aclmdlGetNumInputs") ? 0 : content_of(desc).inputs.size();
}

size_t aclmdlGetNumOutputs(aclmdlDesc *desc) {
    return step("aclmdlGetNumOutputs") ? 0 : content_of(desc).outputs.size();
}

size_t aclmdlGetInputSizeByIndex(aclmdlDesc *desc, size_t index) {
    return step("aclmdlGetInputSizeByIndex") ? 0 : tensor_of(content_of(desc).inputs, index).bytes;
}

size_t aclmdlGetOutputSizeByIndex(aclmdlDesc *desc, size_t index) {
    return step("aclmdlGetOutputSizeByIndex") ? 0 : tensor_of(content_of(desc).outputs, index).bytes;
}

int aclmdlGetInputDimsV2(const aclmdlDesc *desc, size_t index, void *dims) {
    const int code = step("aclmdlGetInputDimsV2");
    return code ? code : fill_dims(tensor_of(content_of(desc).inputs, index), dims);
}

int aclmdlGetOutputDims(const aclmdlDesc *desc, size_t index, void *dims) {
    const int code = step("aclmdlGetOutputDims");
    return code ? code : fill_dims(tensor_of(content_of(desc).outputs, index), dims);
}

const char *aclmdlGetInputNameByIndex(const aclmdlDesc *desc, size_t index) {
    return step("aclmdlGetInputNameByIndex") ? nullptr : tensor_of(content_of(desc).inputs, index).name.c_str();
}

const char *aclmdlGetOutputNameByIndex(const aclmdlDesc *desc, size_t index) {
    return step("aclmdlGetOutputNameByIndex") ? nullptr : tensor_of(content_of(desc).outputs, index).name.c_str();
}

int aclmdlGetInputFormat(const aclmdlDesc *desc, size_t index) {
    return step("aclmdlGetInputFormat") ? -1 : tensor_of(content_of(desc).inputs, index).format;
}

int aclmdlGetInputDataType(const aclmdlDesc *desc, size_t index) {
    return step("aclmdlGetInputDataType") ? -1 : tensor_of(content_of(desc).inputs, index).type;
}

int aclmdlGetOutputDataType(const aclmdlDesc *desc, size_t index) {
    return step("aclmdlGetOutputDataType") ? -1 : tensor_of(content_of(desc).outputs, index).type;
}

aclmdlDataset *aclmdlCreateDataset(void) {
    if (step("aclmdlCreateDataset")) return nullptr;
    const lock_type lock(mutex);
    auto *made = new aclmdlDataset;
    datasets.insert(made);
    count(1);
    return made;
}

int aclmdlDestroyDataset(const aclmdlDataset *set) {
    const int code = step("aclmdlDestroyDataset");
    const lock_type lock(mutex);
    if (!datasets.erase(set)) breach("a dataset ended twice");
    delete set;
    count(-1);
    return code;
}

int aclmdlAddDatasetBuffer(aclmdlDataset *set, aclDataBuffer *buffer) {
    if (const int code = step("aclmdlAddDatasetBuffer")) return code;
    const lock_type lock(mutex);
    if (!datasets.count(set) || !data_buffers.count(buffer)) breach("a dataset or data buffer that is not there");
    set->buffers.push_back(buffer);
    return ok;
}

aclDataBuffer *aclCreateDataBuffer(void *memory, size_t bytes) {
    if (step("aclCreateDataBuffer")) return nullptr;
    const lock_type lock(mutex);
    auto *made = new aclDataBuffer{memory, bytes};
    data_buffers.insert(made);
    count(1);
    return made;
}

int aclDestroyDataBuffer(const aclDataBuffer *buffer) {
    const int code = step("aclDestroyDataBuffer");
    const lock_type lock(mutex);
    if (!data_buffers.erase(buffer)) breach("a data buffer ended twice");
    delete buffer;
    count(-1);
    return code;
}

int aclmdlExecuteAsync(uint32_t id, const aclmdlDataset *input, aclmdlDataset *output, void *handle) {
    if (const int code = device_step("aclmdlExecuteAsync")) return code;
    const lock_type lock(mutex);
    const auto found = models.find(id);
    if (found == models.end()) breach("a run of a model that is not loaded");
    if (found->second.owner != current) return model_context;
    if (is_pending([=](const task &each) { return each.model == id; })) breach("two runs of one model at once");
    const std::shared_ptr<const model_content> content = found->second.content;
    const std::vector<uint8_t *> in = addresses(input, content->inputs), out = addresses(output, content->outputs);
    std::vector<const uint8_t *> from(in.begin(), in.end()), used = from;
    used.insert(used.end(), out.begin(), out.end());
    const auto run = [=] {
        if (!content->run(from, out)) return 507011;
        count_pictures(static_cast<int>(content->inputs[0].dims[0]));
        return static_cast<int>(ok);
    };
    const int code = enqueue(handle, {run, used, id});
    if (code == ok)
        static_cast<stream *>(handle)->busy_until =
            clock_type::now() + std::chrono::milliseconds(take_hang() + content->delay_ms);
    return code;
}

#ifndef DOUBLE_OLD

const char *aclmdlGetTensorRealName(const aclmdlDesc *, const char *name) {
    return name;
}

#endif
}
