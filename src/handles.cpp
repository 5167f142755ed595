// SPDX-License-Identifier: Apache-2.0
#include "handles.h"

#include <condition_variable>
#include <mutex>

#include "status.h"

namespace yq {
namespace {

// A handle's bits: 63..48 the mark, 47..16 the slot's generation, 15..0 the slot.
constexpr uint64_t mark = 0x7951;
constexpr uint32_t slot_count = 1024;
static_assert(sizeof(void *) == 8, "handles need 64 bits");

struct Slot {
    std::mutex mutex;
    std::condition_variable unused;
    std::unique_ptr<Detector> detector; // nullptr: free
    uint32_t generation = 1;            // rises when a handle ends
    uint32_t uses = 0;
    bool live = false;
};

// Never destroyed: a host's thread may call while the process ends.
Slot *const slots = new Slot[slot_count];

yq_detector *encode(uint32_t slot, uint32_t generation) {
    return reinterpret_cast<yq_detector *>(mark << 48 | uint64_t{generation} << 16 | slot);
}

// The slot a handle names, or slot_count.
uint32_t slot_of(const yq_detector *handle) {
    const uint64_t bits = reinterpret_cast<uint64_t>(handle);
    const uint32_t slot = bits & 0xFFFF;
    return bits >> 48 == mark && slot < slot_count ? slot : slot_count;
}

bool is_live(const Slot &slot, const yq_detector *handle) {
    return slot.live && slot.generation == static_cast<uint32_t>(reinterpret_cast<uint64_t>(handle) >> 16);
}

} // namespace

int32_t add_handle(std::unique_ptr<Detector> detector, yq_detector **out) {
    for (uint32_t i = 0; i < slot_count; ++i) {
        Slot &slot = slots[i];
        const std::lock_guard<std::mutex> lock(slot.mutex);
        if (slot.detector || slot.live) continue;
        slot.detector = std::move(detector);
        slot.live = true;
        *out = encode(i, slot.generation);
        return YQ_OK;
    }
    return fail(YQ_ENOMEM, "%u detectors exist already: destroy some", slot_count);
}

void remove_handle(yq_detector *handle) {
    const uint32_t index = slot_of(handle);
    if (index == slot_count) return;
    Slot &slot = slots[index];
    std::unique_lock<std::mutex> lock(slot.mutex);
    if (!is_live(slot, handle)) return;
    slot.live = false;
    ++slot.generation;
    slot.unused.wait(lock, [&] { return slot.uses == 0; });
    const std::unique_ptr<Detector> detector = std::move(slot.detector);
    lock.unlock(); // the detector ends outside: others may take the slot
}

HandleUse::HandleUse(yq_detector *handle) : slot_(slot_of(handle)) {
    if (slot_ < slot_count) {
        Slot &slot = slots[slot_];
        const std::lock_guard<std::mutex> lock(slot.mutex);
        if (is_live(slot, handle)) {
            ++slot.uses;
            detector_ = slot.detector.get();
            return;
        }
    }
    fail(YQ_EINVAL, handle ? "the detector handle is not valid: it was destroyed or never created"
                           : "the detector handle is NULL");
}

HandleUse::~HandleUse() {
    if (!detector_) return;
    Slot &slot = slots[slot_];
    const std::lock_guard<std::mutex> lock(slot.mutex);
    if (--slot.uses == 0) slot.unused.notify_all();
}

} // namespace yq
